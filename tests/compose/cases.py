"""Small projects, each for one rule: the files by name, and variables.  ``compose.yaml`` and an override are found."""

from __future__ import annotations


def service(text: str) -> dict[str, str]:
    """Return a project with one service, whose settings are *text* in flow style."""
    return {"compose.yaml": "services:\n  web: {image: x, " + text + "}\n"}


def pair(base: str, over: str) -> dict[str, str]:
    """Return two files that set the same service; both are mappings in flow style."""
    return {
        "compose.yaml": f"services:\n  web: {{image: x, {base}}}\n",
        "compose.override.yaml": f"services:\n  web: {{{over}}}\n",
    }


def text(value: str) -> dict[str, str]:
    """Return a project with a variable of this text in double quotes."""
    return {"compose.yaml": f'services:\n  web:\n    image: x\n    environment:\n      V: "{value}"\n'}


VARIABLES = {"SET": "value", "EMPTY": "", "PORT": "8080", "YES": "true", "DOLLAR": "$x", "BRACE": "}"}

INTERPOLATION = {
    "plain": text("$SET-${SET}"),
    "unset": text("a${UNSET}b$UNSET"),
    "default-unset": text("${UNSET:-d} ${UNSET-d} ${UNSET:-} ${UNSET-}"),
    "default-empty": text("${EMPTY:-d} [${EMPTY-d}]"),
    "default-set": text("${SET:-d} ${SET-d}"),
    "required-set": text("${SET:?e} ${SET?e} [${EMPTY?e}]"),
    "required-empty": text("${EMPTY:?must have}"),
    "required-unset": text("${UNSET?must have $SET}"),
    "alternative": text("[${SET:+r}] [${EMPTY:+r}] [${EMPTY+r}] [${UNSET+r}] [${UNSET:+r}]"),
    "nested": text("${UNSET:-${EMPTY:-${SET}}} ${UNSET-a${SET}b}"),
    "nested-alternative": text("${SET:+<${PORT}>} ${SET+$PORT}"),
    "escaped": text("$$SET $${SET} $$$SET $$$$"),
    "default-with-colon": text("${UNSET:-http://a:1/b?c=d-e}"),
    "default-with-dash": text("${UNSET:--x} ${UNSET--x}"),
    "two": text("${UNSET:-a}${UNSET:-b}${SET}"),
    "value-is-not-expanded": text("$DOLLAR ${DOLLAR} ${UNSET:-$DOLLAR}"),
    "escaped-in-default": text("${UNSET:-$$x}"),
    "lone-dollar": text("a $ b"),
    "lone-dollar-at-end": text("cost$"),
    "digit": text("$1"),
    "unclosed": text("${SET"),
    "empty-name": text("${}"),
    "bad-operator": text("${SET/x/y}"),
    "lower-case": text("$set ${unset_x:-l}"),
    "keys-stay": {"compose.yaml": "services:\n  web: {image: x, labels: {$SET: a}}\n"},
    "numbers": service(
        'ports: [{target: "${PORT}", published: "${PORT}"}], cpus: "${UNSET:-0.5}", privileged: "${YES}"'
    ),
    "boolean-words": service('privileged: "${UNSET:-yes}", tty: off, init: "${YES}"'),
    "bad-boolean": service('privileged: "${SET}"'),
    "bad-number": service('scale: "${SET}"'),
    "port-range": service('ports: ["${PORT}:80", "${PORT:-1}-${PORT}:90"]'),
    "name": {"compose.yaml": "name: ${SET}\nservices: {web: {image: x, environment: {N: $COMPOSE_PROJECT_NAME}}}\n"},
}

MERGES = {
    "scalar": pair("user: a, working_dir: /a", "user: b"),
    "command": pair("command: [a, b], entrypoint: a b", "command: c, entrypoint: [d]"),
    "environment": pair("environment: {A: 1, B: 2}", "environment: [B=3, C=4, A]"),
    "environment-null": pair("environment: {A: 1}", "environment: {A: null}"),
    "labels": pair("labels: [a=1, b]", "labels: {b: 2, c: null}"),
    "ports": pair("ports: ['80:80', '81:81']", "ports: ['80:80', '80:80/udp', '127.0.0.1:80:80', '82-83:81']"),
    "ports-mode": pair("ports: [{target: 80, published: 80, mode: host}]", "ports: ['80:80']"),
    "limits-without-cpus": pair("cpus: 0.5", "deploy: {resources: {limits: {pids: 50}}}"),
    "ports-long": pair("ports: ['80:80']", "ports: [{target: 80, published: '80'}, {target: 80, published: 81}]"),
    "volumes": pair("volumes: ['./a:/x', './b:/y:ro']", "volumes: ['./c:/x', {type: tmpfs, target: /y}]"),
    "volumes-slash": pair("volumes: ['./a:/x/']", "volumes: ['./b:/x']"),
    "devices": pair("devices: ['/dev/a:/dev/x']", "devices: ['/dev/b:/dev/x', /dev/c]"),
    "expose": pair("expose: [80, '81']", "expose: ['80', 82]"),
    "dns": pair("dns: 1.1.1.1, dns_search: a", "dns: [1.1.1.1, 8.8.8.8], dns_search: [b]"),
    "tmpfs": pair("tmpfs: /a", "tmpfs: [/b, /a]"),
    "caps": pair("cap_add: [A, B]", "cap_add: [B, C]"),
    "security": pair("security_opt: [a, b]", "security_opt: [b, c]"),
    "groups": pair("group_add: [a]", "group_add: [a, b]"),
    "hosts": pair("extra_hosts: [a=1.1.1.1]", "extra_hosts: {a: 2.2.2.2, b: 1.1.1.1}"),
    "hosts-addresses": pair("extra_hosts: {b: [2.2.2.2, 1.1.1.1]}", "extra_hosts: ['a=1.1.1.1', 'b=2.2.2.2']"),
    "sysctls": pair("sysctls: {a: 1}", "sysctls: [a=2, b=3]"),
    "ulimits": pair("ulimits: {a: 1, b: {soft: 1, hard: 2}}", "ulimits: {a: {soft: 3, hard: 4}, b: {soft: 5, hard: 6}}"),
    "logging-same": pair("logging: {driver: a, options: {x: 1}}", "logging: {driver: a, options: {y: 2}}"),
    "logging-other": pair("logging: {driver: a, options: {x: 1}}", "logging: {driver: b, options: {y: 2}}"),
    "logging-none": pair("logging: {options: {x: 1}}", "logging: {driver: b}"),
    "health": pair("healthcheck: {test: [CMD, a], retries: 1}", "healthcheck: {test: b, interval: 1s}"),
    "build": pair("build: ./a", "build: {args: {A: 1}, target: t}"),
    "build-args": pair("build: {context: ., args: [A=1, B=2]}", "build: {args: {B: 3}}"),
    "env-file": pair("env_file: a.env", "env_file: [b.env, a.env]") | {"a.env": "A=1\nC=a\n", "b.env": "A=2\nB=3\n"},
    "depends-on": pair("depends_on: [web2]", "depends_on: {web3: {condition: service_healthy}}")
    | {"compose.override.yml": "services: {}\n"},
    "networks": pair("networks: [default]", "networks: {default: {aliases: [a]}}"),
    "deploy": pair("deploy: {replicas: 1, labels: {a: 1}}", "deploy: {replicas: 2, labels: [b=2]}"),
    "null-override": pair("user: a, ports: ['80:80']", "user: null, ports: null"),
    "reset": pair("ports: ['80:80'], user: a, environment: {A: 1, B: 2}",
                  "ports: !reset [], user: !reset null, environment: {A: !reset null}"),
    "override": pair("ports: ['80:80'], environment: {A: 1}", "ports: !override ['81:81'], environment: !override {B: 2}"),
    "reset-service": {"compose.yaml": "services: {a: {image: x}, b: {image: y}}\n",
                      "compose.override.yaml": "services:\n  b: !reset null\n"},
    "kinds": pair("ports: ['80:80']", "ports: {a: b}"),
    "extension": pair("x-a: {b: 1}", "x-a: {c: 1}"),
    "documents": {"compose.yaml": "services: {a: {image: x, ports: ['80:80']}}\n---\nservices: {a: {ports: ['81:81']}}\n"},
    "links": pair("links: [a]", "links: [a, 'b:c']") | {"compose.override.yml": "services: {}\n"},
    "profiles": pair("profiles: []", "profiles: []"),
    "ipam": {
        "compose.yaml": "services: {a: {image: x, networks: [n]}}\nnetworks:\n  n: {labels: {a: 1}, ipam: {config: "
        "[{subnet: 10.1.0.0/16}]}}\n",
        "compose.override.yaml": "networks:\n  n: {labels: [b=2], internal: true, ipam: {config: [{subnet: 10.1.0.0/16, "
        "gateway: 10.1.0.1}, {subnet: 10.2.0.0/16}]}}\n",
    },
}  # fmt: skip

FORMS = {
    "port-forms": service("ports: [80, '81', '82:83', '1.2.3.4:84:85', '1.2.3.4::86', '[::1]:87:88/udp', '90-91:90-91']"),
    "port-mismatch": service("ports: ['80-82:90-91']"),
    "port-invalid": service("ports: ['a:b']"),
    "port-too-large": service("ports: ['70000:80']"),
    "port-protocol": service("ports: ['80:80/sctp', '81:81/xyz']"),
    "volume-options": service("volumes: ['./a:/b:ro,Z,rshared', 'vol:/c:nocopy', '/x:/y:consistent', '~/h:/h']")
    | {"compose.override.yaml": "volumes: {vol: }\n"},
    "volume-invalid": service("volumes: ['aa:/bb:cc:dd']"),
    "volume-empty": service("volumes: ['aa::bb']"),
    "durations": service("stop_grace_period: 1h30m, healthcheck: {interval: 1m30.5s, timeout: 100ms, start_period: 2d}"),
    "duration-invalid": service("stop_grace_period: 10x"),
    "sizes": service("mem_limit: 1.5g, shm_size: 64kb, memswap_limit: 2GiB, mem_reservation: 1000"),
    "size-invalid": service("mem_limit: lots"),
    "commands": service("command: a 'b c' \"d e\" f\\ g, entrypoint: []"),
    "command-empty": service('command: "", entrypoint: ""'),
    "command-quote": service("command: \"a 'b\""),
    "yaml-numbers": service("environment: {A: 0o17, B: 017, C: 0x1f, D: 1_000, E: 1e3, F: .5, G: 1.0, H: 12:30, I: ~, "
                            "J: 1.50, K: 123456789012345678901234567890, L: -0, M: +5, N: .inf, O: 1e25, P: 0.1}"),
    "yaml-booleans": service("environment: {A: yes, B: No, C: on, D: true, E: False, F: TRUE, G: y, H: n}"),
    "labels-null": service("labels: {a: , b: 1, c: true}"),
    "shell-environment": service("environment: [SET, UNSET, EMPTY], build: {context: ., args: [SET, UNSET]}"),
    "anchors": {"compose.yaml": "x-a: &a {image: x, environment: {A: 1}}\nservices: {a: *a, b: {<<: *a, image: y}}\n"},
    "merge-list": {"compose.yaml": "x-a: &a {image: x}\nx-b: &b {image: y, user: u}\nservices: {a: {<<: [*a, *b]}}\n"},
    "duplicate-key": {"compose.yaml": "services: {a: {image: x, image: y}}\n"},
    "unknown-key": service("prots: []"),
    "wrong-type": service("ports: {a: 1}"),
    "no-image": {"compose.yaml": "services: {a: {command: x}}\n"},
    "undefined-network": service("networks: [nowhere]"),
    "undefined-volume": service("volumes: ['nowhere:/a']"),
    "undefined-service": service("depends_on: [nowhere]"),
    "undefined-secret": service("secrets: [nowhere]"),
    "cycle": {"compose.yaml": "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}\n"},
    "self": {"compose.yaml": "services: {a: {image: x, depends_on: [a]}}\n"},
    "mode-and-networks": service("network_mode: host, networks: [default]"),
    "external-conflict": service("networks: [n]") | {"compose.override.yaml": "networks: {n: {external: true, driver: x}}\n"},
    "external-volume-conflict": service("volumes: ['vol:/a']")
    | {"compose.override.yaml": "volumes: {vol: {external: true, driver: x}}\n"},
    "only-host-mode": service("network_mode: host"),
    "secret-kinds": service("secrets: [s]") | {"compose.override.yaml": "secrets: {s: {file: a, environment: B}}\n"},
    "secret-nothing": service("secrets: [s]") | {"compose.override.yaml": "secrets: {s: {}}\n"},
    "no-services": {"compose.yaml": "networks: {a: }\n"},
    "empty": {"compose.yaml": "\n"},
    "a-list": {"compose.yaml": "- a\n"},
    "null-service": {"compose.yaml": "services: {a: }\n"},
    "bad-name": {"compose.yaml": "name: Not Valid!\nservices: {a: {image: x}}\n"},
    "bad-service-name": {"compose.yaml": "services: {'a b': {image: x}}\n"},
    "scale-replicas": service("scale: 2, deploy: {replicas: 3}"),
    "name-and-scale": service("container_name: abc, scale: 2"),
    "health-test": service("healthcheck: {test: [curl, x]}"),
    "extends-cycle": {"compose.yaml": "services: {a: {extends: b}, b: {extends: a}}\n"},
    "extends-missing": {"compose.yaml": "services: {a: {extends: nowhere}}\n"},
    "include-cycle": {"compose.yaml": "include: [b.yaml]\nservices: {a: {image: x}}\n", "b.yaml": "include: [compose.yaml]\n"},
    "include-conflict": {"compose.yaml": "include: [b.yaml]\nservices: {a: {image: x}}\n",
                         "b.yaml": "services: {a: {image: y}}\n"},
    "include-override": {"compose.yaml": "include: [b.yaml]\nservices: {c: {image: x}}\n",
                         "b.yaml": "services: {a: {image: y, ports: ['1:1']}}\n",
                         "compose.override.yaml": "services: {a: {ports: ['2:2']}}\n"},
    "env-file-missing": service("env_file: nowhere.env"),
    "env-file-optional": service("env_file: [{path: nowhere.env, required: false}]"),
    "env-file-raw": service("env_file: [{path: a.env, format: raw}]") | {"a.env": "A='x $SET'\nB=\"y\"\n# c\n"},
    "env-file-grammar": service("env_file: a.env")
    | {"a.env": "A=1 # c\nB='x $SET' # c\nC=\"y $SET\\n\"\nexport D=4\nE: 5\nF=\nG=a#b\nH=$A-${SET:-d}\nI=\"two\nlines\"\nSET\nUNSET\n"
               "J=a b\n  K = 6 \nL=\"q\\\"r\"\nM='it'\nN=x=y\n"},
    "env-file-invalid": service("env_file: a.env") | {"a.env": "A B=1\n"},
    "label-file": service("label_file: [a.labels], labels: {own: '1', b: own}") | {"a.labels": "a=1\nb=2\n"},
    "dot-env": text("$FROM_DOT_ENV $SET") | {".env": "FROM_DOT_ENV=yes\nSET=no\n"},
    "required-disabled": {"compose.yaml": "services: {a: {image: x, depends_on: [b]}, b: {image: x, profiles: [p]}}\n"},
    "date": service("environment: {A: 2020-01-02}"),
    "top-extension": {"compose.yaml": "x-a: {b: $SET}\nservices: {a: {image: x}}\n"},
    "ports-duplicate": service("ports: ['80:80', '80:80']"),
    "volumes-duplicate": service("volumes: ['./a:/a', './b:/a']"),
    "volume-on-tmpfs": service("tmpfs: [/a, '/b:size=1m'], volumes: ['./a:/b']"),
    "tmpfs-twice": service("tmpfs: ['/b', '/b:size=1m']"),
    "hosts-order": service("extra_hosts: {b: [2.2.2.2, 1.1.1.1], a-b: 1.1.1.1, a: 3.3.3.3}"),
    "hosts-forms": service("extra_hosts: ['a:1.1.1.1', 'b=::1', 'c:[::2]', 'd:fe80::1']"),
    "volumes-from": {"compose.yaml": "services: {a: {image: x, volumes_from: ['b:ro', 'container:c']}, b: {image: y}}\n"},
    "tmpfs-mode": service("volumes: [{type: tmpfs, target: /a, tmpfs: {mode: 01777, size: 1m}}]"),
    "network-defaults": {"compose.yaml": "services: {a: {image: x}}\nnetworks: {default: {name: own, driver: d}}\n"},
    "external-name": service("networks: [n]") | {"compose.override.yaml": "networks: {n: {external: {name: out}}}\n"},
}  # fmt: skip

CASES = {
    **{f"interpolation/{name}": files for name, files in INTERPOLATION.items()},
    **{f"merge/{name}": files for name, files in MERGES.items()},
    **{f"form/{name}": files for name, files in FORMS.items()},
}
