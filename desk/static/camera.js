"use strict";
// Reads label codes with the camera, where the browser lets us. The page works without it.
(() => {
  const box = document.querySelector("[data-scanner]");
  const field = document.getElementById("code");
  const api = window.BarcodeDetectionAPI;
  if (!box || !field || !api || !navigator.mediaDevices) return;
  const wasm = box.dataset.scanner;
  if (api.prepareZXingModule) {
    api.prepareZXingModule({ overrides: { locateFile: (path, prefix) => (path.endsWith(".wasm") ? wasm : prefix + path) } });
  }
  const button = box.querySelector("[data-start]");
  const video = box.querySelector("video");
  box.hidden = false;

  const stop = (stream) => {
    stream.getTracks().forEach((track) => track.stop());
    video.hidden = true;
    button.hidden = false;
  };

  button.addEventListener("click", async () => {
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
    button.hidden = true;
    await video.play();
    const detector = new api.BarcodeDetector({ formats: ["qr_code"] });
    const look = async () => {
      if (!stream.active) return;
      const found = await detector.detect(video).catch(() => []);
      if (found.length > 0) {
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
