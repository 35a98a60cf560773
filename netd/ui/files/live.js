// The connection to netd: server-sent events, reconnection, and rates from counters.
"use strict";

const Live = {
  path: "/netd/v1/topology/stream",
  silence: 12000,
  again: 2000,

  // Follow the stream; on: {topology, traffic, state}.  state(true) while netd sends messages, state(false) when not.
  follow(on) {
    let source = null;
    let timer = null;
    const restart = () => {
      source.close();
      on.state(false);
      clearTimeout(timer);
      timer = setTimeout(open, Live.again);
    };
    const heard = () => {
      on.state(true);
      clearTimeout(timer);
      timer = setTimeout(restart, Live.silence);
    };
    const open = () => {
      source = new EventSource(Live.path);
      source.addEventListener("topology", (event) => {
        heard();
        on.topology(JSON.parse(event.data));
      });
      source.addEventListener("traffic", (event) => {
        heard();
        on.traffic(JSON.parse(event.data));
      });
      source.addEventListener("error", restart);
    };
    open();
  },

  // Update the counters by a message, and return the rates in bytes per second by endpoint: 0 without a change.
  rates(traffic, before, message) {
    const seconds = before.time ? message.Time - before.time : 0;
    const found = new Map(seconds > 0 ? [...traffic.keys()].map((key) => [key, { received: 0, sent: 0 }]) : []);
    for (const [key, numbers] of Object.entries(message.Traffic)) {
      const last = traffic.get(key);
      if (last && seconds > 0) {
        found.set(key, { received: (numbers[0] - last[0]) / seconds, sent: (numbers[3] - last[3]) / seconds });
      }
      traffic.set(key, numbers);
    }
    before.time = message.Time;
    return found;
  },
};
