// Runs before the first paint: sets the user's theme, if any. Storage may be denied in a frame.
(function () {
  try {
    const chosen = localStorage.getItem('headroom-theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch (error) {
    document.documentElement.removeAttribute('data-theme');
  }
})();
