// The page: its state, and what events change in it.
"use strict";

const Page = {
  state: {
    model: null, collapsed: new Set(), shown: null, selected: "", network: "", pointed: "", focused: "",
    rates: new Map(), traffic: new Map(), before: { time: 0 },
  },

  start() {
    this.svg = document.getElementById("svg");
    this.panel = document.getElementById("panel");
    this.search = document.getElementById("search");
    this.status = document.getElementById("status");
    this.listen();
    const data = document.getElementById("data");
    if (data) {
      const topology = JSON.parse(data.textContent);
      this.say(`as of ${new Date(topology.Time * 1000).toLocaleString()}`, false);
      this.update(topology);
    } else {
      this.say("connecting to netd", false);
      Live.follow({
        topology: (topology) => this.update(topology),
        traffic: (message) => this.measure(message),
        state: (here) => this.connected(here),
      });
    }
  },

  update(topology) {
    const { state } = this;
    state.model = Model.index(topology);
    for (const [key, numbers] of Object.entries(topology.Traffic || {})) {
      state.traffic.set(key, numbers);
    }
    if (!state.model.containers.has(state.selected)) {
      state.selected = "";
    }
    const links = [...new Set(Object.values(topology.Uplinks).flat())].join(", ");
    document.getElementById("host").textContent = Texts.plain(`${topology.Host}: ${topology.Networks.length} networks, `
      + `${topology.Containers.length} containers, ${links ? `default route by ${links}` : "no default route"}`);
    this.filter();
  },

  filter() {
    this.state.shown = Model.matching(this.state.model, this.search.value);
    document.getElementById("empty").hidden = !this.state.shown || this.state.shown.size > 0;
    this.draw();
  },

  draw() {
    const { state, svg } = this;
    const width = Math.floor(svg.getBoundingClientRect().width);
    if (!state.model || width < 1) {
      return;
    }
    const focus = svg.contains(document.activeElement);
    Picture.draw(svg, state, width);
    Keys.restore(svg, state.focused, focus);
    const all = [...state.model.networks.keys()].every((id) => state.collapsed.has(id));
    document.getElementById("fold").textContent = all ? "Expand all" : "Collapse all";
    this.detail();
  },

  detail() {
    Panel.show(this.panel, this.state, (id) => this.select(id));
  },

  measure(message) {
    const { state } = this;
    state.rates = Live.rates(state.traffic, state.before, message);
    Picture.rates(this.svg, state);
  },

  connected(here) {
    if (document.body.classList.contains("away") === here || this.status.textContent.startsWith("connecting")) {
      this.say(here ? "live" : `netd is away since ${new Date().toLocaleTimeString()}; trying again`, !here);
    }
  },

  say(text, away) {
    this.status.textContent = text;
    this.status.classList.toggle("away", away);
    document.body.classList.toggle("away", away);
  },

  select(id) {
    const { state } = this;
    state.selected = state.selected === id ? "" : id;
    state.network = "";
    this.draw();
  },

  fold(id) {
    const { state } = this;
    state.network = id;
    state.selected = "";
    if (!state.collapsed.delete(id)) {
      state.collapsed.add(id);
    }
    this.draw();
  },

  foldAll() {
    const { state } = this;
    const ids = [...state.model.networks.keys()];
    state.collapsed = ids.every((id) => state.collapsed.has(id)) ? new Set() : new Set(ids);
    this.draw();
  },

  use(item) {
    this.state.focused = item.dataset.key;
    if (item.dataset.network) {
      this.fold(item.dataset.network);
    } else {
      this.select(item.dataset.container);
    }
  },

  point(item) {
    const id = item ? item.dataset.container || "" : "";
    if (id !== this.state.pointed) {
      this.state.pointed = id;
      this.detail();
    }
  },

  listen() {
    const { svg } = this;
    const item = (event) => event.target.closest("[role=treeitem]");
    svg.addEventListener("click", (event) => item(event) && this.use(item(event)));
    svg.addEventListener("pointerover", (event) => this.point(item(event)));
    svg.addEventListener("pointerleave", () => this.point(null));
    svg.addEventListener("focusin", (event) => {
      this.state.focused = event.target.dataset.key;
      this.point(event.target);
    });
    this.search.addEventListener("input", () => this.state.model && this.filter());
    document.getElementById("fold").addEventListener("click", () => this.state.model && this.foldAll());
    document.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(document.getElementById("picture"));
  },

  key(event) {
    const inside = this.svg.contains(event.target);
    if (event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (event.key === "/" && event.target !== this.search) {
      this.search.focus();
    } else if (event.key === "Escape") {
      this.state.selected = this.state.network = this.search.value = "";
      if (this.state.model) {
        this.filter();
      }
    } else if (inside && (event.key === "Enter" || event.key === " ")) {
      this.use(event.target);
    } else if (inside && /^(Arrow|Home|End)/.test(event.key)) {
      Keys.move(this.svg, event.key);
    } else {
      return;
    }
    event.preventDefault();
  },
};

if (typeof document !== "undefined") {
  Page.start();
}
