const show = value => { opacity.value = value; blend(); };
for (const button of all('nav button[value]')) button.addEventListener('click', () => show(button.value));
const shrink = () => all('.large').forEach(view => view.classList.remove('large'));
for (const view of all('.view')) view.addEventListener('click', () => {
  const large = view.classList.contains('large');
  shrink();
  view.classList.toggle('large', !large);
});
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') shrink();
  if (event.key === 'Enter' && event.target.classList.contains('view')) event.target.click();
  if ('123'.includes(event.key)) show((event.key - 1) / 2);
});
