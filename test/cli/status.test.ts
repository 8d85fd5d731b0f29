/** `cfsboot status`, as it is shipped. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { HostStatus } from "../../src/model/host-status.ts";
import { TestMachine } from "../deployment/machine.ts";
import { run, spawn, succeed } from "./on-machine.ts";

let machine: TestMachine;
let first: string;
let second: string;
beforeAll(async () => {
  machine = new TestMachine();
  first = await machine.stage({ version: "13" }, { counted: false });
  machine.boot();
  second = await machine.stage({ version: "13.1" });
});
afterAll(() => machine[Symbol.dispose]());

const json = (...args: string[]) =>
  JSON.parse(succeed(machine, "status", "--json", ...args)) as HostStatus;

test("is bootc's document, and ours under a key of its own", () => {
  const host = json();
  expect(host).toMatchObject({
    apiVersion: "org.containers.bootc/v1",
    kind: "BootcHost",
    metadata: { name: "host" },
    spec: {
      image: { image: "example.org/os:13", transport: "registry" },
      bootOrder: "default",
    },
    status: {
      rollback: null,
      rollbackQueued: false,
      type: null,
      usrOverlay: null,
      readOnly: false,
    },
    cfsboot: {
      deployments: [
        { index: 0, id: second, slot: "staged", next: true, tries: { left: 3, done: 0 } },
        { index: 1, id: first, slot: "booted", next: false, dropped: false, damage: [] },
      ],
      leftovers: { stagedMenu: false, record: null, states: [], kernels: [] },
      warnings: [],
    },
  });
  expect(Object.keys(host.status)).not.toContain("otherDeployments");
  expect(host.status.booted).toEqual({
    image: {
      image: { image: "example.org/os:13", transport: "registry" },
      version: null,
      timestamp: expect.toSatisfy((time) => time === null || /Z$/.test(time)),
      imageDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      architecture: "amd64",
    },
    cachedUpdate: null,
    incompatible: false,
    pinned: false,
    softRebootCapable: false,
    downloadOnly: false,
    store: null,
    ostree: null,
    composefs: {
      verity: first,
      bootType: "Bls",
      bootloader: "systemd",
      bootDigest: expect.stringMatching(/^[0-9a-f]{64}$/),
      missingVerityAllowed: true,
    },
  });
});

test("JSON has sorted keys, YAML has them in bootc's order", () => {
  const text = succeed(machine, "status", "--format", "json");
  expect(text).toMatch(/^\{"apiVersion":"org\.containers\.bootc\/v1","cfsboot":\{"deployments":/);
  const yaml = succeed(machine, "status", "--format", "yaml");
  expect(yaml).toMatch(
    /^apiVersion: org\.containers\.bootc\/v1\nkind: BootcHost\nmetadata:\n {2}name: host\nspec:\n/,
  );
  expect(parse(yaml)).toEqual(JSON.parse(text));
  expect(succeed(machine, "status")).toBe(yaml); // nobody reads it on a terminal
  expect(run(machine, "status", "--json", "--format", "yaml")).toMatchObject({ status: 2 });
});

test("--booted leaves nothing but what runs", () => {
  const host = json("--booted");
  expect(host.status).toMatchObject({ staged: null, rollback: null, booted: { pinned: false } });
  expect(host.cfsboot.deployments.map(({ id }) => id)).toEqual([first]);
});

test("for people it looks like bootc's", () => {
  const text = succeed(machine, "status", "--format", "humanreadable");
  const [staged, booted] = text.split("\n\n");
  expect(staged!.split("\n")).toEqual([
    "  Staged image: example.org/os:13",
    expect.stringMatching(/^ {8}Digest: sha256:[0-9a-f]{64} \(amd64\)$/),
    `        Verity: ${second}`,
    ...(staged!.includes("Timestamp") ? [expect.stringMatching(/^ {5}Timestamp: .*Z$/)] : []),
    "         Index: 0",
    "         Tries: not yet proven, is tried 3 times more",
  ]);
  expect(booted).toMatch(/^● Booted image: example\.org\/os:13\n/);
});

test.each(["-v", "--verbose"])("%s tells more", (flag) => {
  const text = succeed(machine, "status", "--format", "humanreadable", flag);
  expect(text).toContain("  FsVerity: Not Enforced\n");
  expect(text).toContain(` Kargs: root=UUID=1234 rw composefs=?${first}\n`);
});

test("there is no other version than 1", () => {
  expect(run(machine, "status", "--format-version", "2")).toMatchObject({ status: 2 });
  expect(json("--format-version", "0")).toEqual(json());
});

test("changes nothing", () => {
  const before = machine.names("sysroot").concat(machine.names("esp/loader"), machine.names("run"));
  json();
  expect(
    machine.names("sysroot").concat(machine.names("esp/loader"), machine.names("run")),
  ).toEqual(before);
});

describe("a damaged machine", () => {
  test("foreign entries are shown, and no error (bootc#2228)", () => {
    const path = join(machine.path, "esp/loader/entries/fwupd.conf");
    writeFileSync(path, "title Firmware\nefi /EFI/fwupd.efi\n");
    try {
      expect(json().cfsboot.foreignEntries).toEqual([
        { name: "fwupd.conf", title: "Firmware", problem: null },
      ]);
      const text = succeed(machine, "status", "--format", "humanreadable", "-v");
      expect(text).toContain("\nBoot entry of others: fwupd.conf (Firmware)\n");
    } finally {
      rmSync(path);
    }
  });

  test("a staged record that makes no sense is a warning", () => {
    const record = machine.read("run/staged-deployment");
    const path = join(machine.path, "run/staged-deployment");
    writeFileSync(path, "{");
    try {
      expect(json()).toMatchObject({
        status: { staged: null },
        cfsboot: {
          warnings: [expect.stringContaining("staged-deployment")],
          leftovers: { stagedMenu: true, states: [second] },
        },
      });
    } finally {
      writeFileSync(path, record);
    }
  });

  test("an origin that is gone damages its deployment, and nothing else", () => {
    const path = machine.state(second, `${second}.origin`);
    const origin = machine.read(`sysroot/state/deploy/${second}/${second}.origin`);
    rmSync(path);
    try {
      const { status, cfsboot } = json();
      expect(status.staged?.image).toBe(null);
      expect(cfsboot.deployments[0]!.damage).toEqual([`it has no ${second}.origin`]);
      expect(succeed(machine, "status", "--format", "humanreadable")).toContain(
        `  Staged composefs\n            Commit: ${second}\n`,
      );
    } finally {
      writeFileSync(path, origin);
    }
  });
});

test("options about another machine need its root", () => {
  const { status, stderr } = spawn("status", "--run", "/nowhere");
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: "cfsboot: error: --run needs --sysroot\n",
  });
});

test("what was not booted by composefs has nothing to tell, and that is no error", () => {
  const { status, stdout } = spawn("status", "--json");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    spec: { image: null },
    status: { booted: null, staged: null, rollback: null },
    cfsboot: { deployments: [], warnings: [expect.stringContaining("no deployments")] },
  });
});

test("a GRUB that reads the ESP as systemd-boot does is called as bootc calls it, and counts no boots", async () => {
  using other = new TestMachine("grub-cc");
  await other.stage({ version: "13" }, { counted: false });
  other.boot();
  await other.stage({ version: "13.1" });
  const host = JSON.parse(succeed(other, "status", "--json")) as HostStatus;
  expect(host.status.booted?.composefs.bootloader).toBe("grub-cc");
  expect(host.cfsboot.deployments[0]).toMatchObject({ slot: "staged", tries: null });
});
