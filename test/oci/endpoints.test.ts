import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseRegistriesConf } from "../../src/formats/registries-conf.ts";
import { pullSources, suggestReferences } from "../../userspace/oci/endpoints.ts";
import { formatLocation, parseLocation } from "../../userspace/oci/location.ts";
import { loadRegistriesConf } from "../../userspace/oci/registries.ts";

const digest = `sha256:${"0".repeat(64)}`;

const conf = parseRegistriesConf(
  `
  [[registry]]
  prefix = "example.com"
  location = "internal.example"
  [[registry]]
  prefix = "example.com/team"
  location = "internal.example:5000/other"
  insecure = true
  [[registry.mirror]]
  location = "m1.example/x"
  pull-from-mirror = "digest-only"
  [[registry.mirror]]
  location = "m2.example"
  insecure = true
  pull-from-mirror = "tag-only"
  [[registry.mirror]]
  location = "m3.example"
  [[registry]]
  location = "example.com/team/blocked"
  blocked = true
  [[registry]]
  prefix = "example.com/team/image:old"
  location = "archive.example/image:old"
  [[registry]]
  prefix = "*.wild.example"
  blocked = true
  [[registry]]
  prefix = "*.ok.wild.example"
  [[registry.mirror]]
  location = "mirror.example"
  [[registry]]
  location = "docker.io/library"
  [[registry.mirror]]
  location = "hub.example/l"
  [[registry]]
  prefix = "bad.example"
  location = "nohost/x"
`,
  "registries.conf",
);

describe("places to look for an image", () => {
  test.each([
    ["else.example/a:b", ["else.example/a:b"]],
    ["example.com/a/b", ["internal.example/a/b:latest"]],
    ["example.com/teams/b", ["internal.example/teams/b:latest"]],
    // a port makes it another registry
    ["example.com:5000/team/a", ["example.com:5000/team/a:latest"]],
    [
      "example.com/team/a:b",
      [
        "m2.example/a:b mirror insecure",
        "m3.example/a:b mirror",
        "internal.example:5000/other/a:b insecure",
      ],
    ],
    [
      `example.com/team/a@${digest}`,
      [
        `m1.example/x/a@${digest} mirror`,
        `m3.example/a@${digest} mirror`,
        `internal.example:5000/other/a@${digest} insecure`,
      ],
    ],
    ["example.com/team/image:old", ["archive.example/image:old"]],
    ["a.ok.wild.example:5/x", ["mirror.example:5/x:latest mirror", "a.ok.wild.example:5/x:latest"]],
    ["debian:13", ["hub.example/l/debian:13 mirror", "docker.io/library/debian:13"]],
    ["user/app", ["docker.io/user/app:latest"]],
  ])("%s", (name, expected) => {
    const sources = pullSources(parseLocation(name), conf);
    expect(
      sources.map(
        ({ location, mirror, insecure }) =>
          formatLocation(location) + (mirror ? " mirror" : "") + (insecure ? " insecure" : ""),
      ),
    ).toEqual(expected);
  });

  test.each([
    ["example.com/team/blocked/x", "example.com/team/blocked is blocked"],
    ["a.wild.example/x", "*.wild.example is blocked"],
    ["bad.example/x", 'location "nohost/x": expected a host'],
  ])("not %s", (name, why) => {
    expect(() => pullSources(parseLocation(name), conf)).toThrow(why);
  });
});

test("what a name without a transport may mean", () => {
  const names = parseRegistriesConf(
    `unqualified-search-registries = ["a.example", "b.example:5000"]
     [aliases]
     debian = "docker.io/library/debian"
     gone = ""`,
    "x",
  );
  const none = parseRegistriesConf("", "x");
  expect(suggestReferences("debian:13", names)).toEqual(["docker://docker.io/library/debian:13"]);
  expect(suggestReferences(`gone@${digest}`, names)).toEqual([
    `docker://a.example/gone@${digest}`,
    `docker://b.example:5000/gone@${digest}`,
  ]);
  expect(suggestReferences("team/app", none)).toEqual([]);
  expect(suggestReferences("quay.io/team/app:1", none)).toEqual(["docker://quay.io/team/app:1"]);
  expect(suggestReferences("./file", names)).toEqual([]);
});

describe("files", () => {
  let scratch: string;
  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), "registries-"));
  });
  afterEach(() => rmSync(scratch, { recursive: true }));

  const system = () => [join(scratch, "usr"), join(scratch, "etc")];

  /** Writes a file that says where it is, for the prefix and as the search registry. */
  function write(path: string, prefix: string): void {
    const file = join(scratch, path);
    mkdirSync(dirname(file), { recursive: true });
    const host = `${path.replaceAll(/[^a-z0-9]/g, "-")}.example`;
    writeFileSync(file, `[[registry]]\nprefix = "${prefix}.example"\nlocation = "${host}"\n`);
  }

  function load(uid: number, env: NodeJS.ProcessEnv = {}): Record<string, string> {
    const places = { uid, env: { HOME: join(scratch, "home"), ...env }, system: system() };
    const { registries } = loadRegistriesConf(places);
    return Object.fromEntries(
      [...registries].map(([prefix, { location }]) => [
        prefix.replace(".example", ""),
        location.replace(".example", ""),
      ]),
    );
  }

  test("of the main files the user's own, else the administrator's, else the vendor's", () => {
    expect(load(0)).toEqual({});
    write("usr/registries.conf", "a");
    expect(load(0)).toEqual({ a: "usr-registries-conf" });
    write("etc/registries.conf", "b");
    expect(load(0)).toEqual({ b: "etc-registries-conf" });
    write("home/.config/containers/registries.conf", "c");
    expect(load(0)).toEqual({ c: "home--config-containers-registries-conf" });
    expect(load(0, { XDG_CONFIG_HOME: join(scratch, "xdg") })).toEqual({
      b: "etc-registries-conf",
    });
  });

  test("drop-ins in the order of their names, over the main file; of two of one name the later", () => {
    write("etc/registries.conf", "a");
    write("etc/registries.conf.d/50.conf", "a");
    write("usr/registries.conf.d/60.conf", "b");
    write("etc/registries.conf.d/55.conf", "b");
    write("usr/registries.conf.d/70.conf", "vendor");
    write("etc/registries.conf.d/70.conf", "admin");
    write("etc/registries.conf.d/80.conf.bak", "a");
    write("etc/registries.rootful.conf.d/r.conf", "root");
    write("etc/registries.rootless.conf.d/r.conf", "users");
    write("etc/registries.rootless.conf.d/1000/u.conf", "user");
    write("home/.config/containers/registries.conf.d/90.conf", "c");
    const common = {
      a: "etc-registries-conf-d-50-conf",
      b: "usr-registries-conf-d-60-conf",
      admin: "etc-registries-conf-d-70-conf",
      c: "home--config-containers-registries-conf-d-90-conf",
    };
    expect(load(0)).toEqual({ ...common, root: "etc-registries-rootful-conf-d-r-conf" });
    expect(load(1000)).toEqual({
      ...common,
      users: "etc-registries-rootless-conf-d-r-conf",
      user: "etc-registries-rootless-conf-d-1000-u-conf",
    });
  });

  test("the one that is named, alone; and one over all", () => {
    write("etc/registries.conf", "a");
    write("etc/registries.conf.d/50.conf", "b");
    write("named", "c");
    write("over", "d");
    const named = { CONTAINERS_REGISTRIES_CONF: join(scratch, "named") };
    const over = { CONTAINERS_REGISTRIES_CONF_OVERRIDE: join(scratch, "over") };
    expect(Object.keys(load(0, named))).toEqual(["c"]);
    expect(Object.keys(load(0, over))).toEqual(["a", "b", "d"]);
    const missing = { CONTAINERS_REGISTRIES_CONF: join(scratch, "missing") };
    expect(() => load(0, missing)).toThrow("missing");
  });

  test("aliases that other programs took note of", () => {
    write("etc/registries.conf", "a");
    const file = join(scratch, "home/.cache/containers/short-name-aliases.conf");
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, '[aliases]\nx = "x.example/x"\n');
    const env = { HOME: join(scratch, "home") };
    const { aliases } = loadRegistriesConf({ uid: 1000, env, system: system() });
    expect(aliases.get("x")).toBe("x.example/x");
  });
});
