const root = document.documentElement, all = (query, part = document) => [...part.querySelectorAll(query)];
root.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
document.getElementById('theme').addEventListener('click', () => {
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
});
for (const button of all('.copy')) button.addEventListener('click', async () => {
  const code = button.previousElementSibling;
  try { await navigator.clipboard.writeText(code.textContent); button.textContent = 'copied'; }
  catch { getSelection().selectAllChildren(code); button.textContent = 'selected'; }
  setTimeout(() => { button.textContent = 'copy'; }, 1500);
});
function value(row, column) {
  const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent;
  return text.trim() === '' || text === 'nan' ? NaN : isNaN(text) ? text : Number(text);
}
function compare(a, b) {
  const last = x => typeof x === 'number' && isNaN(x);
  if (last(a) || last(b)) return last(a) - last(b);
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return typeof a === typeof b ? a.localeCompare(b, 'en', { numeric: true }) : typeof a === 'number' ? -1 : 1;
}
for (const head of all('.sortable th')) head.querySelector('button')?.addEventListener('click', () => {
  const way = head.ariaSort === 'ascending' ? -1 : 1, body = head.closest('table').tBodies[0];
  all('th', head.parentElement).forEach(other => { other.removeAttribute('aria-sort'); });
  head.setAttribute('aria-sort', way > 0 ? 'ascending' : 'descending');
  const rows = [...body.rows].map(row => [value(row, head.cellIndex), row]);
  const blank = ([key]) => typeof key === 'number' && isNaN(key);
  rows.sort((a, b) => blank(a) || blank(b) ? blank(a) - blank(b) : way * compare(a[0], b[0]));
  body.append(...rows.map(([, row]) => row));
});
for (const key of all('button.key')) key.addEventListener('click', () => {
  const on = key.getAttribute('aria-pressed') !== 'true';
  key.setAttribute('aria-pressed', on);
  all('svg .' + key.dataset.series, key.closest('figure')).forEach(mark => mark.classList.toggle('off', !on));
});
const opacity = document.getElementById('opacity');
const blend = () => root.style.setProperty('--opacity', opacity.value);
if (opacity) { opacity.addEventListener('input', blend); blend(); }
