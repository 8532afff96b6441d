"use strict";
// Everything here is a convenience: without it every page reads, every form works, every state has its address.

const write = (id, text) => { const place = document.getElementById(id); if (place) place.textContent = text; };

function followJob(box) {
  const bar = document.getElementById("job-bar");
  const source = new EventSource(box.dataset.events);
  source.addEventListener("progress", event => {
    const now = JSON.parse(event.data);
    write("job-state", now.words.charAt(0).toUpperCase() + now.words.slice(1));
    if (now.state === "queued") write("job-line", `${now.waiting_before} jobs before it`);
    if (now.state === "running") {
      const left = now.seconds_left === null ? "" : `, ${now.left} left`;
      write("job-line", `${now.done} of ${now.total} ${now.unit || "steps"}${left}`);
      bar.max = now.total || 1;
      bar.value = now.done;
    }
    if (["done", "failed", "cancelled"].includes(now.state)) {
      source.close();
      location.reload();
    }
  });
}

function whatIf(form) {
  const sliders = [...form.querySelectorAll("input[type=range]")];
  const table = document.querySelector("#table-what-if table");
  const reorder = () => {
    const total = sliders.reduce((sum, one) => sum + Number(one.value), 0);
    if (!table || total <= 0) return;
    const weights = sliders.map(one => Number(one.value) / total);
    sliders.forEach((one, at) => { one.nextElementSibling.textContent = weights[at].toFixed(2); });
    const rows = [...table.tBodies[0].rows].map(row => {
      const parts = row.dataset.parts.split(" ").map(Number);
      return { row, score: parts.reduce((sum, part, at) => sum + part * weights[at], 0), depth: Number(row.dataset.depth) };
    });
    rows.sort((one, other) => other.score - one.score || one.depth - other.depth);
    rows.forEach(({ row, score }, at) => {
      row.cells[1].textContent = String(at + 1);
      row.cells[2].textContent = score.toFixed(3);
    });
    table.tBodies[0].append(...rows.map(one => one.row));
    write("what-if-said", `What if: weights ${weights.map(one => one.toFixed(2)).join(", ")}. The address of this page carries them.`);
    const address = new URL(location.href);
    address.searchParams.delete("w");
    weights.forEach(one => address.searchParams.append("w", one.toFixed(4)));
    address.hash = "what-if";
    history.replaceState(null, "", address);
    const link = document.querySelector("footer a");
    if (link) link.href = address;
  };
  sliders.forEach(one => one.addEventListener("input", reorder));
}

function scrub(box) {
  const steps = box.dataset.steps.split(" "), truth = box.dataset.true.split(","), read = box.dataset.read.split(",");
  const field = document.getElementById("scrub-field"), range = document.getElementById("scrub-range"), frame = document.getElementById("scrub-frame");
  const target = document.querySelector("select[name=target]").value;
  const show = () => {
    const at = Number(range.value);
    write("scrub-said", `Step ${steps[at]}: ${target} was ${truth[at] || "n/a"}, the layer tells ${read[at] || "n/a"}.`);
    if (frame) {
      frame.src = `${box.dataset.frames}${steps[at]}.png`;
      frame.alt = frame.alt.replace(/\d+/, steps[at]);
    }
    const address = new URL(location.href);
    address.searchParams.set("step", steps[at]);
    history.replaceState(null, "", address);
  };
  const redraw = async () => {  // the line at this step, from the page that this address gives
    const asked = location.href;
    const answer = await fetch(asked);
    const drawn = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#frames figure");
    if (drawn && asked === location.href) document.querySelector("#frames figure").replaceWith(drawn);
  };
  const step = by => event => {
    event.preventDefault();
    range.value = String(Number(range.value) + by);
    show();
    redraw();
  };
  document.getElementById("scrub-before")?.addEventListener("click", step(-1));
  document.getElementById("scrub-after")?.addEventListener("click", step(1));
  range.addEventListener("input", show);
  range.addEventListener("change", redraw);
  field.hidden = false;
}

const job = document.querySelector("#job[data-events]");
if (job) followJob(job);
const weights = document.getElementById("weights");
if (weights) whatIf(weights);
const frames = document.getElementById("scrub");
if (frames) scrub(frames);
