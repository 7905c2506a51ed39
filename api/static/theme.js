// Before the first paint: the theme this reader chose, if any. Storage may be denied in a frame.
(function () {
  try {
    const chosen = localStorage.getItem('headroom-theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch (error) {
    document.documentElement.removeAttribute('data-theme');
  }
})();
