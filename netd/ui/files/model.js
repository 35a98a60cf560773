// The topology with indexes, the search, and who reaches whom.  Pure: the rules come from netd.
"use strict";

const ORDER = ["all", "opened", "published", "unknown", "none"];

const Model = {
  index(topology) {
    const model = { topology, networks: new Map(), containers: new Map(), members: new Map() };
    for (const network of topology.Networks) {
      model.networks.set(network.Id, network);
      model.members.set(network.Id, []);
    }
    for (const container of topology.Containers) {
      model.containers.set(container.Id, container);
      for (const endpoint of container.Endpoints) {
        const members = model.members.get(endpoint.Network);
        if (members) {
          members.push({ container, endpoint });
        }
      }
    }
    for (const members of model.members.values()) {
      members.sort((a, b) => a.container.Name.localeCompare(b.container.Name, "en", { numeric: true }));
    }
    return model;
  },

  // Return the ids of the containers that have all words of the text in a name, address, port, alias or network.
  matching(model, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) {
      return null;
    }
    const found = new Set();
    for (const container of model.containers.values()) {
      const about = this.about(model, container).join("\n").toLowerCase();
      if (words.every((word) => about.includes(word))) {
        found.add(container.Id);
      }
    }
    return found;
  },

  about(model, container) {
    const texts = [container.Name, container.Id.slice(0, 12), container.State, container.Image || "",
      container.Project, container.Service];
    for (const endpoint of container.Endpoints) {
      const network = model.networks.get(endpoint.Network);
      texts.push(network ? network.Name : "", endpoint.Mac, ...endpoint.Addresses, ...endpoint.Aliases);
    }
    return [...texts, ...container.Ports.map((port) => Texts.port(port))];
  },

  // netd states no state: the containers that it has are running or paused.
  isRunning(container) {
    return ["", "running", "paused"].includes(container.State);
  },

  // Return what one container reaches of another: {access, lines: [{access, text}]}, the best access first.
  reach(model, client, server) {
    if (client.Id === server.Id) {
      return { access: "all", lines: [{ access: "all", text: "the same container" }] };
    }
    for (const container of [client, server]) {
      if (!this.isRunning(container)) {
        return { access: "none", lines: [{ access: "none", text: `${container.Name} is ${container.State}` }] };
      }
    }
    const shared = this.shared(model, client, server);
    const published = this.published(client, server);
    const isPublished = published.length > 0 || server.Ports.some((port) => !port.Port);
    const lines = (shared.length ? shared : this.routed(model, client, server)).map((line) =>
      (line.access === "published" || line.access === "opened") && !isPublished
        ? { access: "none", text: `${line.text}; ${server.Name} publishes none for it` } : line);
    lines.push(...published);
    lines.sort((a, b) => ORDER.indexOf(a.access) - ORDER.indexOf(b.access));
    const first = lines[0] || { access: "none", text: "neither has a network" };
    return { access: first.access, lines: lines.length ? lines : [first] };
  },

  rules(model, client, server) {
    return (model.topology.Reach[client] || {})[server] || [];
  },

  // Return the family of a rule, if the other family has another rule.
  families(rule, rules) {
    return rules.length > 1 ? ` (IPv${rule.Families.join(", IPv")})` : "";
  },

  // Return a line for each network that both are on.
  shared(model, client, server) {
    const lines = [];
    const own = new Set(client.Endpoints.map((endpoint) => endpoint.Network));
    for (const endpoint of server.Endpoints) {
      const network = model.networks.get(endpoint.Network);
      if (network && own.has(endpoint.Network)) {
        const at = endpoint.Addresses.map(Texts.bare).join(", ");
        const rules = this.rules(model, network.Zone, "same");
        for (const rule of rules) {
          const where = rule.Access === "all" && at ? ` at ${at}` : "";
          lines.push({ access: rule.Access, text: `on ${network.Name}${where}: ${rule.Reason}${this.families(rule, rules)}` });
        }
      }
    }
    return lines;
  },

  // Return a line for each way through the host: from the network of the client's default route.
  routed(model, client, server) {
    const found = new Map();
    const ways = new Set(Object.values(client.Egress));
    const from = ways.size ? [...ways] : client.Endpoints.map((endpoint) => endpoint.Network);
    for (const source of from) {
      for (const endpoint of server.Endpoints) {
        const [a, b] = [model.networks.get(source), model.networks.get(endpoint.Network)];
        const rules = a && b ? this.rules(model, a.Zone, b.Zone) : [];
        for (const rule of rules) {
          const text = `from ${a.Name} to ${b.Name}: ${rule.Reason}${this.families(rule, rules)}`;
          found.set(text, { access: rule.Access, text });
        }
      }
    }
    return [...found.values()];
  },

  // Return a line for each port of the server at a host address that the client reaches.  Packets to ports at loopback
  // addresses, and to ports of a server without a default route, come from the host only.
  published(client, server) {
    const open = server.Ports.filter((port) => {
      const family = port.Address.includes(":") ? "6" : "4";
      const forwarded = family in server.Egress && !this.isLoopback(port.Address);
      const local = this.isLoopback(port.Address) && client.OnHost;
      return port.Port && (local || (forwarded && (client.OnHost || family in client.Egress)));
    });
    return open.map((port) => ({ access: "published", text: `published: ${Texts.port(port)}` }));
  },

  isLoopback(address) {
    return address.startsWith("127.") || address === "::1";
  },

  // Return lines on what other hosts and the host reach of a container, and what it reaches of them.
  around(model, container) {
    const lines = [];
    const pairs = [["outside", "From other hosts"], ["host", "From the host"]];
    for (const endpoint of container.Endpoints) {
      const network = model.networks.get(endpoint.Network);
      for (const [zone, words] of network ? pairs : []) {
        const rules = this.rules(model, zone, network.Zone);
        for (const rule of rules) {
          const text = `${words}, by ${network.Name}: ${rule.Reason}${this.families(rule, rules)}`;
          lines.push({ access: rule.Access, text });
        }
      }
      if (network && network.WaysOut.length) {
        const none = network.WaysOut.every((way) => way.Kind === "none");
        lines.push({ access: none ? "none" : "all", text: `Way out by ${network.Name}: ${Texts.waysOut(network)}` });
      }
    }
    return lines;
  },
};
