"use strict";
// The card's QR code carries the code behind "#", which no server sees: put it into the field and out of sight.
(() => {
  const field = document.querySelector("[data-from-address]");
  const code = decodeURIComponent(location.hash.slice(1));
  if (!field || !/^[0-9A-Za-z-]{20,40}$/.test(code)) return;
  field.value = code;
  history.replaceState(null, "", location.pathname);
  document.getElementById("secret").focus();
})();
