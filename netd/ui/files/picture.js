// The picture: elements of SVG at the positions of the layout.  Texts are set as text, never as markup.
"use strict";

const Picture = {
  canvas: null,

  // Draw the picture; state: {model, collapsed, shown, selected, rates}.
  draw(svg, state, width) {
    const placed = Layout.place(state.model, width, state.collapsed, state.shown);
    svg.setAttribute("height", String(Math.max(placed.height, 1)));
    svg.setAttribute("viewBox", `0 0 ${width} ${Math.max(placed.height, 1)}`);
    const nodes = [...placed.boxes.map((box) => this.box(box)), ...this.links(placed, state),
      ...placed.chips.map((chip) => this.chip(chip))];
    svg.replaceChildren(...this.inOrder(nodes));
    this.mark(svg, state);
    this.rates(svg, state);
    return placed;
  },

  // Return the elements so that the chips of a network follow its box: the order of keys and of screen readers.
  inOrder(nodes) {
    const boxes = nodes.filter((node) => node.dataset.network);
    const others = nodes.filter((node) => !node.dataset.network && !node.dataset.endpoint);
    const chips = new Map(boxes.map((node) => [node.dataset.network, []]));
    for (const node of nodes) {
      if (node.dataset.endpoint) {
        chips.get(node.dataset.of).push(node);
      }
    }
    return [...boxes.flatMap((box) => [box]), ...others, ...boxes.flatMap((box) => chips.get(box.dataset.network))];
  },

  element(name, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) {
      made.setAttribute(key, String(value));
    }
    made.append(...children);
    return made;
  },

  // Return a text that is cut to the width.
  text(x, y, classes, content, width) {
    const whole = Texts.plain(content);
    const cut = this.cut(whole, width, classes);
    const made = this.element("text", { x, y, class: classes }, cut);
    if (cut !== whole) {
      made.append(this.element("title", {}, whole));
    }
    return made;
  },

  cut(text, width, classes) {
    this.canvas = this.canvas || document.createElement("canvas").getContext("2d");
    const size = classes.includes("title") ? 14 : 12;
    this.canvas.font = `${/title|name/.test(classes) ? "600 " : ""}${size}px system-ui, sans-serif`;
    const room = width - 2;
    if (this.canvas.measureText(text).width <= room) {
      return text;
    }
    let [low, high] = [0, text.length];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.canvas.measureText(`${text.slice(0, middle)}…`).width <= room) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return `${text.slice(0, low)}…`;
  },

  box(box) {
    const { network } = box;
    const count = box.members === box.total ? String(box.total) : `${box.members} of ${box.total}`;
    const kind = [network.Driver, network.Internal ? "internal" : "", network.Isolated ? "isolated" : ""]
      .filter(Boolean).join(", ");
    const subnets = network.Pools.map((pool) => pool.Subnet).join(", ");
    const [left, room] = [box.x + Layout.pad, box.width - 2 * Layout.pad];
    const sign = box.total ? `${box.folded ? "▸" : "▾"} ` : "";
    const lines = [
      this.element("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: 10, class: "box" }),
      this.text(left, box.y + 20, "title", `${sign}${network.Name}`, room - (box.members === box.total ? 92 : 132)),
      this.element("text", { x: left + room, y: box.y + 20, class: "soft", "text-anchor": "end" },
        box.total ? `${count} container${count === "1" ? "" : "s"}` : "empty"),
      this.text(left, box.y + 38, "soft", [kind, subnets].filter(Boolean).join("  "), room),
    ];
    if (!box.folded) {
      lines.push(this.text(left, box.y + 56, "soft way", `out: ${Texts.waysOut(network)}`, room));
    }
    const made = this.element("g", {
      class: `network${network.Internal ? " internal" : ""}`, role: "treeitem", tabindex: -1,
      "aria-expanded": String(!box.folded), "aria-level": 1, "data-network": network.Id,
      "aria-label": Texts.plain(`network ${network.Name}, ${kind}, ${subnets}, ${count} containers,`
        + ` out: ${Texts.waysOut(network)}`),
    }, ...lines);
    made.dataset.key = network.Id;
    return made;
  },

  chip(chip) {
    const { container, endpoint, x, y, width, height } = chip;
    const addresses = endpoint.Addresses.map(Texts.bare).join(", ");
    const ports = container.Ports.map((port) => (port.Port ? `:${Texts.span(port.Port, port.Count)}` : "")).join(" ");
    const state = Model.isRunning(container) ? "" : container.State;
    const where = addresses || (container.OnHost ? "the host's addresses" : "no address");
    const room = width - 20;
    const lines = [
      this.element("rect", { x, y, width, height, rx: 6 }),
      this.element("rect", { x, y, width: 5, height, rx: 2.5, class: "mark" }),
    ];
    if (chip.compact) {
      const left = Math.floor(room * 0.56);
      lines.push(this.text(x + 12, y + 17, "name", container.Name, left),
        this.text(x + 12 + left + 4, y + 17, "soft", state || addresses, room - left - 4));
    } else {
      const half = ports ? room - Math.min(86, room / 2) : room;
      lines.push(this.text(x + 12, y + 17, "name", container.Name, half),
        ...(ports ? [this.text(x + 12 + half, y + 17, "port", ports, room - half)] : []),
        this.text(x + 12, y + 34, "soft", state || where, room),
        this.element("text", { x: x + 12, y: y + 51, class: "soft rate" }));
    }
    const made = this.element("g", {
      class: `chip${state ? " stopped" : ""}`, role: "treeitem", tabindex: -1, "aria-level": 2,
      "aria-label": Texts.plain(`container ${container.Name}${container.State && `, ${container.State}`}, ${addresses},`
        + ` ${container.Ports.map((port) => Texts.port(port)).join(", ") || "no published ports"}`),
    }, ...lines);
    Object.assign(made.dataset, { key: endpoint.Id, endpoint: endpoint.Id, container: container.Id, of: endpoint.Network });
    return made;
  },

  // Return lines between the chips of containers on several networks, if they are few.
  links(placed, state) {
    const byContainer = new Map();
    for (const chip of placed.chips) {
      byContainer.set(chip.container.Id, [...(byContainer.get(chip.container.Id) || []), chip]);
    }
    const several = [...byContainer.values()].filter((chips) => chips.length > 1);
    const drawn = several.filter((chips) => several.length <= 12 || chips[0].container.Id === state.selected);
    return drawn.flatMap((chips) => chips.slice(1).map((chip, position) => this.link(chips[position], chip)));
  },

  link(from, to) {
    const [left, right] = from.x <= to.x ? [from, to] : [to, from];
    const [x1, y1, y2] = [left.x + left.width, left.y + left.height / 2, right.y + right.height / 2];
    const x2 = right.x > x1 ? right.x : right.x + right.width;
    const bend = right.x > x1 ? (x2 - x1) / 2 : 24;
    const path = `M ${x1} ${y1} C ${x1 + bend} ${y1}, ${right.x > x1 ? x2 - bend : x2 + bend} ${y2}, ${x2} ${y2}`;
    const made = this.element("path", { d: path, class: "link" });
    made.dataset.container = from.container.Id;
    return made;
  },

  // Mark what the selected container reaches.
  mark(svg, state) {
    const client = state.model.containers.get(state.selected);
    const reached = new Map();
    for (const node of svg.querySelectorAll(".chip, .link")) {
      node.classList.remove("selected", ...ORDER);
      const server = state.model.containers.get(node.dataset.container);
      if (node.classList.contains("link")) {
        node.classList.toggle("strong", server === client);
      } else if (server === client) {
        node.classList.add("selected");
      } else if (client) {
        reached.set(server.Id, reached.get(server.Id) || Model.reach(state.model, client, server).access);
        node.classList.add(reached.get(server.Id));
      }
      if (!node.classList.contains("link")) {
        node.setAttribute("aria-selected", String(server === client));
      }
    }
  },

  // Write the rates into the chips; only texts that changed are touched.
  rates(svg, state) {
    for (const node of svg.querySelectorAll(".chip")) {
      const text = node.querySelector(".rate");
      const rate = text && state.rates.get(node.dataset.endpoint);
      const total = state.traffic.get(node.dataset.endpoint);
      const sums = total ? `↓ ${Texts.bytes(total[0])}  ↑ ${Texts.bytes(total[3])}` : "";
      const shown = rate ? `↓ ${Texts.rate(rate.received)}  ↑ ${Texts.rate(rate.sent)}` : sums;
      if (text && text.textContent !== shown) {
        text.textContent = shown;
      }
    }
  },
};
