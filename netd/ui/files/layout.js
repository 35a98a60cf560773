// Positions of networks and containers.  Pure; units are pixels.  Boxes and chips never overlap.
"use strict";

const Layout = {
  unit: 226,
  gap: 14,
  pad: 10,
  head: 68,
  folded: 48,
  compactFrom: 41,

  // Return {height, boxes, chips} for a picture of this width; shown: ids of containers, or null for all.
  place(model, width, collapsed, shown) {
    const columns = Math.max(1, Math.floor((width + this.gap) / (this.unit + this.gap)));
    const unit = (width - (columns - 1) * this.gap) / columns;
    const heights = new Array(columns).fill(0);
    const boxes = [];
    const chips = [];
    for (const network of this.ordered(model, shown)) {
      const members = this.members(model, network, shown);
      const isFolded = collapsed.has(network.Id) || !members.length;
      const span = isFolded ? 1 : this.span(members.length, columns);
      const start = this.start(heights, span);
      const box = { network, members: members.length, folded: isFolded, total: model.members.get(network.Id).length };
      box.x = start * (unit + this.gap);
      box.y = Math.max(...heights.slice(start, start + span));
      box.width = span * unit + (span - 1) * this.gap;
      const rows = isFolded ? 0 : this.rows(box, members, span, chips);
      box.height = isFolded ? this.folded : this.head + rows + this.pad;
      heights.fill(box.y + box.height + this.gap, start, start + span);
      boxes.push(box);
    }
    return { height: Math.max(0, ...heights), boxes, chips };
  },

  // Return the networks with containers, then the others; with a search, only those with matches.
  ordered(model, shown) {
    const rank = (network) => (this.members(model, network, shown).length ? 0 : 1);
    return [...model.networks.values()]
      .filter((network) => !shown || rank(network) === 0)
      .sort((a, b) => rank(a) - rank(b) || Number(b.Name === "bridge") - Number(a.Name === "bridge")
        || a.Name.localeCompare(b.Name, "en", { numeric: true }));
  },

  members(model, network, shown) {
    const members = model.members.get(network.Id);
    return shown ? members.filter(({ container }) => shown.has(container.Id)) : members;
  },

  span(count, columns) {
    return Math.min(columns, Math.max(1, Math.ceil(Math.sqrt(count / 3))));
  },

  // Return the first column at which a box of this span stands highest.
  start(heights, span) {
    let best = 0;
    let lowest = Infinity;
    for (let column = 0; column + span <= heights.length; column += 1) {
      const top = Math.max(...heights.slice(column, column + span));
      if (top < lowest) {
        [best, lowest] = [column, top];
      }
    }
    return best;
  },

  // Append the chips of a box; return the height that they take.
  rows(box, members, columns, chips) {
    const compact = members.length >= this.compactFrom;
    const height = compact ? 26 : 58;
    const between = compact ? 5 : 8;
    const width = (box.width - 2 * this.pad - (columns - 1) * between) / columns;
    members.forEach(({ container, endpoint }, position) => {
      const [row, column] = [Math.floor(position / columns), position % columns];
      chips.push({
        container, endpoint, compact, width, height,
        x: box.x + this.pad + column * (width + between),
        y: box.y + this.head + row * (height + between),
      });
    });
    return Math.ceil(members.length / columns) * (height + between) - between;
  },
};
