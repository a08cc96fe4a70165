// Everything works without this. It keeps the relative times of a page that
// stays open true, and says what a time is where the reader is.
(() => {
  "use strict";

  const ago = (seconds) => {
    const minutes = Math.floor(seconds / 60);
    if (minutes < 1) return "just now";
    if (minutes < 60) return `${minutes} min ago`;
    const hours = Math.floor(minutes / 60);
    if (hours < 24) return `${hours} h ago`;
    const days = Math.floor(hours / 24);
    return days === 1 ? "1 day ago" : `${days} days ago`;
  };

  const refresh = () => {
    for (const element of document.querySelectorAll("[data-ago]")) {
      const seconds = (Date.now() - Date.parse(element.dataset.ago)) / 1000;
      element.textContent = ago(seconds);
    }
  };

  const local = new Intl.DateTimeFormat(undefined, {
    dateStyle: "full",
    timeStyle: "short",
  });
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = `${local.format(Date.parse(time.dateTime))}, your time`;
  }
  refresh();
  setInterval(refresh, 30000);
})();
