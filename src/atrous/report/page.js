for (const sample of all('.sample')) {
  const find = query => sample.querySelector(query);
  const view = find('.view'), wipe = find('.wipe'), left = find('.left'), right = find('.right');
  const source = key => all('.thumb', sample).find(thumb => thumb.dataset.key === key).firstElementChild.src;
  const show = () => {
    find('.a').src = source(left.value);
    find('.b').src = source(right.value);
    view.style.setProperty('--at', wipe.value + '%');
    all('.thumb', sample).forEach(thumb => thumb.setAttribute('aria-pressed', thumb.dataset.key === right.value));
  };
  find('.base').src = find('.thumbs img').src;
  [left, right, wipe].forEach(control => control.addEventListener('input', show));
  all('.thumb', sample).forEach(thumb => thumb.addEventListener('click', () => { right.value = thumb.dataset.key; show(); }));
  const drag = event => {
    if (!event.buttons) return;
    const box = view.getBoundingClientRect();
    wipe.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  view.addEventListener('pointerdown', event => { view.setPointerCapture(event.pointerId); drag(event); });
  view.addEventListener('pointermove', drag);
  show();
}
