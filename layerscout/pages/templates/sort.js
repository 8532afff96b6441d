for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.querySelectorAll("th[data-column]");
  const key = (row, at) => {
    const cell = row.cells[at];
    const text = cell.dataset.value ?? cell.firstChild?.textContent ?? "";
    return ["", "–", "n/a"].includes(text) ? null : text.replace(/[,%]/g, "").replace("−", "-").trim();
  };
  for (const head of heads) {
    const at = Number(head.dataset.column);
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = [...table.tBodies[0].rows].every(row => key(row, at) === null || !isNaN(key(row, at)));
      const first = numeric && at > 0 ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const a = key(one, at), b = key(other, at);
        if (a === null || b === null) return (a === null) - (b === null);
        const apart = numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return order === "descending" ? -apart : apart;
      });
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      table.tBodies[0].append(...rows);
    });
  }
}
