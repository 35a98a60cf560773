// The keyboard: one element of the picture is in the tab order, arrow keys move it.
"use strict";

const Keys = {
  items(svg) {
    return [...svg.querySelectorAll("[role=treeitem]")];
  },

  // Put one element into the tab order: the one with this key, else the first.
  restore(svg, key, focus) {
    const items = this.items(svg);
    const found = items.find((item) => item.dataset.key === key) || items[0];
    if (found) {
      found.setAttribute("tabindex", "0");
      if (focus) {
        found.focus({ preventScroll: false });
      }
    }
  },

  // Return the nearest element in the direction of an arrow key, by the centres of the elements.
  next(svg, from, key) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const start = this.centre(from);
    let [best, nearest] = [null, Infinity];
    for (const item of this.items(svg)) {
      const to = this.centre(item);
      const along = (to.x - start.x) * dx + (to.y - start.y) * dy;
      const across = Math.abs((to.x - start.x) * dy) + Math.abs((to.y - start.y) * dx);
      const distance = along + 3 * across;
      if (item !== from && along > 1 && distance < nearest) {
        [best, nearest] = [item, distance];
      }
    }
    return best;
  },

  // The centre of a network is that of its head.
  centre(item) {
    const rect = item.querySelector("rect");
    const number = (name) => Number(rect.getAttribute(name));
    const height = item.dataset.network ? Math.min(number("height"), Layout.folded) : number("height");
    const width = item.dataset.network ? Math.min(number("width"), Layout.unit) : number("width");
    return { x: number("x") + width / 2, y: number("y") + height / 2 };
  },

  move(svg, key) {
    const from = svg.contains(document.activeElement) ? document.activeElement : null;
    const items = this.items(svg);
    const to = key === "Home" ? items[0] : key === "End" ? items[items.length - 1] : from && this.next(svg, from, key);
    if (to) {
      items.forEach((item) => item.setAttribute("tabindex", "-1"));
      to.setAttribute("tabindex", "0");
      to.focus();
      to.scrollIntoView({ block: "nearest" });
    }
  },
};
