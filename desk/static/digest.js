"use strict";
// Works out the digest of a chosen file on this device, so that the file itself never leaves it.
document.querySelectorAll("[data-digest-for]").forEach((input) => {
  const target = document.getElementById(input.dataset.digestFor);
  if (!target || !window.crypto || !window.crypto.subtle) return;
  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (!file) return;
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    target.value = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    input.value = "";
  });
});
