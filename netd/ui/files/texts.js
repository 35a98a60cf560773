// Texts of numbers, ports and ways out.  Pure.
"use strict";

const Texts = {
  access: {
    all: "all ports",
    opened: "published ports, at its own address",
    published: "published ports, at an address of the host",
    none: "nothing",
    unknown: "not decided by netd",
  },

  // Return bytes per second, such as "1.2 kB/s".
  rate(bytes) {
    const units = ["B/s", "kB/s", "MB/s", "GB/s"];
    let value = Math.max(0, bytes);
    let unit = 0;
    while (value >= 1000 && unit < units.length - 1) {
      value /= 1000;
      unit += 1;
    }
    return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
  },

  bytes(count) {
    return this.rate(count).replace("/s", "");
  },

  span(first, count) {
    return count > 1 ? `${first}-${first + count - 1}` : String(first);
  },

  port(port) {
    const target = `${this.span(port.Target, port.Count)}/${port.Protocol}`;
    const allowed = port.Allow.length ? ` (only from ${port.Allow.join(", ")})` : "";
    if (!port.Port) {
      return `own address:${target}${allowed}`;
    }
    const address = port.Address.includes(":") ? `[${port.Address}]` : port.Address;
    return `${address}:${this.span(port.Port, port.Count)} → ${target}${allowed}`;
  },

  // Return the way out of one family, such as "masquerade by eth0".
  way(way) {
    const links = way.Links.length ? ` by ${way.Links.join(", ")}` : ", no default route";
    const texts = {
      masquerade: `masquerade${links}`,
      source: `source NAT to ${way.Source}${links}`,
      routed: `routed without NAT${links}`,
      host: `the host's own routes${links}`,
      parent: `directly${links}`,
    };
    return texts[way.Kind] || "no way out";
  },

  waysOut(network) {
    const ways = new Map();
    for (const way of network.WaysOut) {
      const text = this.way(way);
      ways.set(text, [...(ways.get(text) || []), `IPv${way.Family}`]);
    }
    if (ways.size === 1) {
      return [...ways.keys()][0];
    }
    return [...ways].map(([text, families]) => `${text} (${families.join(", ")})`).join("; ") || "no way out";
  },

  // Return the text with control characters and marks of direction replaced.
  plain(text) {
    return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
  },

  bare(address) {
    return address.split("/")[0];
  },
};
