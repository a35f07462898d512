"use strict";
// Reads label codes with the camera, where the browser lets us. The page works without it.
// One code is sent at once; where the page has a field of many lines (data-lines), the camera goes on and each new
// code becomes a line.
(() => {
  const box = document.querySelector("[data-scanner]");
  const lines = box && box.dataset.lines;
  const field = document.getElementById(lines || "code");
  const api = window.BarcodeDetectionAPI;
  if (!box || !field || !api || !navigator.mediaDevices) return;
  const wasm = box.dataset.scanner;
  if (api.prepareZXingModule) {
    api.prepareZXingModule({ overrides: { locateFile: (path, prefix) => (path.endsWith(".wasm") ? wasm : prefix + path) } });
  }
  const button = box.querySelector("[data-start]");
  const video = box.querySelector("video");
  box.hidden = false;

  const start = button.textContent;
  let running = null;
  const stop = (stream) => {
    stream.getTracks().forEach((track) => track.stop());
    running = null;
    video.hidden = true;
    button.hidden = false;
    button.textContent = start;
  };
  const add = (code) => {
    if (field.value.split("\n").includes(code)) return;
    const before = field.value.trim();
    field.value = (before ? before + "\n" : "") + code + "\n";
    box.querySelector("[role=status]").textContent = code;
    if (navigator.vibrate) navigator.vibrate(80);
  };

  button.addEventListener("click", async () => {
    if (running) {
      stop(running);
      return;
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      box.hidden = true; // no camera, or not allowed: the field is there
      field.focus();
      return;
    }
    video.srcObject = stream;
    video.hidden = false;
    running = stream;
    if (lines) button.textContent = button.dataset.stop;
    else button.hidden = true;
    await video.play();
    const detector = new api.BarcodeDetector({ formats: ["qr_code"] });
    const look = async () => {
      if (!stream.active) return;
      const found = await detector.detect(video).catch(() => []);
      if (found.length > 0 && lines) found.forEach((each) => add(each.rawValue));
      else if (found.length > 0) {
        field.value = found[0].rawValue;
        stop(stream);
        field.form.requestSubmit();
        return;
      }
      requestAnimationFrame(look);
    };
    look();
  });
})();
