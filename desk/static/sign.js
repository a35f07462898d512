"use strict";
// A signature with a finger, as strokes in a hidden field, beside the name that is typed.
document.querySelectorAll("[data-signature-for]").forEach((pad) => {
  const field = pad.closest("fieldset").querySelector(`[name="${pad.dataset.signatureFor}"]`);
  const canvas = pad.querySelector("canvas");
  const clear = pad.querySelector("button");
  pad.hidden = false;
  const pen = canvas.getContext("2d");
  const strokes = [];
  const fit = () => {
    canvas.width = canvas.clientWidth;
    canvas.height = canvas.clientHeight;
    pen.lineWidth = 2.5;
    pen.lineCap = "round";
    pen.strokeStyle = "#1d2b33";
  };
  fit();
  const at = (event) => [Math.round(event.offsetX), Math.round(event.offsetY)];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    strokes.push([at(event)]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId) || strokes.length === 0) return;
    const stroke = strokes[strokes.length - 1];
    const [from, to] = [stroke[stroke.length - 1], at(event)];
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    stroke.push(to);
  });
  canvas.addEventListener("pointerup", () => { field.value = JSON.stringify(strokes); });
  clear.addEventListener("click", () => { strokes.length = 0; field.value = ""; fit(); });
});
