// The panel: details of what is selected, and why a container can or cannot reach another.
"use strict";

const Panel = {
  most: 200,

  element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      made.setAttribute(key, value);
    }
    made.append(...children.map((child) => (typeof child === "string" ? Texts.plain(child) : child)));
    return made;
  },

  show(panel, state, select) {
    const { model } = state;
    const container = model.containers.get(state.selected);
    const network = model.networks.get(state.network);
    const other = model.containers.get(state.pointed);
    const parts = [];
    if (container && other && other !== container) {
      parts.push(this.explanation(model, container, other));
    }
    if (container) {
      parts.push(...this.container(model, container, state, select));
    } else if (other) {
      parts.push(...this.container(model, other, state, null));
    } else if (network) {
      parts.push(...this.network(model, network));
    } else {
      parts.push(...this.overview(model));
    }
    panel.replaceChildren(...parts);
  },

  explanation(model, from, to) {
    const box = this.element("div", { id: "explanation", role: "status" });
    for (const [client, server] of [[from, to], [to, from]]) {
      const found = Model.reach(model, client, server);
      box.append(this.element("p", {}, this.element("strong", {}, `${client.Name} → ${server.Name}: `),
        this.element("span", { class: `access ${found.access}` }, Texts.access[found.access])),
      this.lines(found.lines));
    }
    return box;
  },

  lines(lines) {
    return this.element("ul", {},
      ...lines.map((line) => this.element("li", {}, this.element("span", { class: `access ${line.access}` }), line.text)));
  },

  facts(pairs) {
    const list = this.element("dl", {});
    for (const [key, value] of pairs.filter((pair) => pair[1])) {
      list.append(this.element("dt", {}, key), this.element("dd", {}, value));
    }
    return list;
  },

  container(model, container, state, select) {
    const parts = [
      this.element("h2", {}, container.Name),
      this.facts([["State", container.State], ["Image", container.Image || ""], ["Id", container.Id.slice(0, 12)],
        ["Project", [container.Project, container.Service].filter(Boolean).join(" / ")]]),
    ];
    if (container.OverBudget) {
      parts.push(this.element("p", {}, "Over its connection budget: its new connections are dropped."));
    }
    for (const endpoint of container.Endpoints) {
      const network = model.networks.get(endpoint.Network);
      const traffic = state.traffic.get(endpoint.Id);
      parts.push(this.element("h3", {}, `On ${network ? network.Name : endpoint.Network.slice(0, 12)}`), this.facts([
        ["Addresses", endpoint.Addresses.join(", ")],
        ["Gateway", endpoint.Gateways.join(", ")],
        ["Aliases", endpoint.Aliases.join(", ")],
        ["MAC", endpoint.Mac],
        ["Interface", endpoint.Interface],
        ["Received", traffic ? `${Texts.bytes(traffic[0])}, ${traffic[2]} packets dropped` : ""],
        ["Sent", traffic ? `${Texts.bytes(traffic[3])}, ${traffic[5]} packets dropped` : ""],
      ]));
    }
    const sharing = [...model.containers.values()].filter((other) => other.Shares === container.Id);
    if (sharing.length) {
      parts.push(this.element("p", {}, `Shares its network with ${sharing.map((other) => other.Name).join(", ")}.`));
    }
    if (container.Ports.length) {
      parts.push(this.element("h3", {}, "Published ports"),
        this.element("ul", {}, ...container.Ports.map((port) => this.element("li", {}, Texts.port(port)))));
    }
    parts.push(this.element("h3", {}, "Outside and the host"), this.lines(Model.around(model, container)));
    return select ? [...parts, ...this.reached(model, container, select)] : parts;
  },

  // Return lists of the other containers by what the container reaches of them.
  reached(model, container, select) {
    const groups = new Map(ORDER.map((access) => [access, []]));
    for (const other of model.containers.values()) {
      if (other !== container && !other.Shares) {
        groups.get(Model.reach(model, container, other).access).push(other);
      }
    }
    const parts = [this.element("h3", {}, "Reaches of other containers")];
    for (const [access, others] of groups) {
      if (others.length) {
        const title = this.element("p", {}, this.element("span", { class: `access ${access}` }, Texts.access[access]),
          ` (${others.length}):`);
        const more = others.length > this.most ? `, and ${others.length - this.most} more` : "";
        const list = this.element("p", {});
        others.slice(0, this.most).forEach((other, position) => {
          const button = this.element("button", { type: "button", class: "entry" }, other.Name);
          button.dataset.container = other.Id;
          button.addEventListener("click", () => select(other.Id));
          list.append(position ? ", " : "", button);
        });
        list.append(more);
        parts.push(title, list);
      }
    }
    return parts;
  },

  network(model, network) {
    const parts = [
      this.element("h2", {}, network.Name),
      this.facts([["Driver", network.Driver], ["Id", network.Id.slice(0, 12)], ["Link", network.Device],
        ["Internal", network.Internal ? "yes" : ""], ["Way out", Texts.waysOut(network)]]),
    ];
    for (const pool of network.Pools) {
      parts.push(this.element("h3", {}, pool.Subnet),
        this.facts([["Gateway", pool.Gateway], ["Range", pool.Range], ["Used", String(pool.Used)],
          ["Free", String(pool.Free)]]));
    }
    const options = Object.entries(network.Options);
    if (options.length) {
      parts.push(this.element("h3", {}, "Options"), this.facts(options));
    }
    const zone = network.Zone;
    const lines = [["Between its containers", zone, "same"], ["From other hosts", "outside", zone],
      ["From the host", "host", zone]].flatMap(([words, from, to]) => Model.rules(model, from, to)
      .map((rule, _, all) => ({ access: rule.Access, text: `${words}: ${rule.Reason}${Model.families(rule, all)}` })));
    return [...parts, this.element("h3", {}, "Access"), this.lines(lines)];
  },

  overview(model) {
    const { topology } = model;
    const ports = topology.Containers.flatMap((container) =>
      container.Ports.map((port) => `${Texts.port(port)}  ${container.Name}`));
    const links = [...new Set(Object.values(topology.Uplinks).flat())].join(", ");
    const shown = ports.slice(0, this.most);
    return [
      this.element("h2", {}, topology.Host),
      this.facts([["Networks", String(topology.Networks.length)], ["Containers", String(topology.Containers.length)],
        ["Default route", links || "none"], ["netd", topology.Version]]),
      this.element("p", {}, "Select a container to see what it reaches; point at another to see why."),
      this.element("h3", {}, `Published ports: ${ports.length}`),
      this.element("ul", {}, ...shown.map((text) => this.element("li", {}, text)),
        ...(ports.length > shown.length ? [this.element("li", {}, `and ${ports.length - shown.length} more`)] : [])),
    ];
  },
};
