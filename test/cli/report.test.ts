/** `--json` of the commands that change deployments: what scripts are told of what was done. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import type { HostStatus } from "../../src/model/host-status.ts";
import type { ReportDocument } from "../../userspace/cli/report.ts";
import { linux } from "../../userspace/linux.ts";
import type { OsImage, TestMachine } from "../deployment/machine.ts";
import { run, succeed } from "./on-machine.ts";
import { installed, publishIn } from "./publish.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

/** Runs a command twice, first as a dry run, which must change nothing. Returns both objects. */
function both(machine: TestMachine, ...args: string[]) {
  const before = look(machine);
  const would = report(machine, ...args, "--dry-run");
  expect(look(machine)).toEqual(before);
  const did = report(machine, ...args);
  expect([would.dryRun, did.dryRun]).toEqual([true, false]);
  expect(would).toMatchObject({ changed: did.changed, rebootRequired: did.rebootRequired });
  return { would, did };
}

/** Runs a command that must print one object and nothing else. */
function report(machine: TestMachine, ...args: string[]): ReportDocument {
  const stdout = succeed(machine, ...args, "--json");
  expect(stdout).toMatch(/^\{.*\}\n$/);
  const document = JSON.parse(stdout) as ReportDocument;
  expect(Object.keys(document)).toEqual([
    ...["version", "dryRun", "changed", "steps", "deployments", "rebootRequired"],
  ]);
  return document;
}

const look = (machine: TestMachine) =>
  JSON.parse(succeed(machine, "status", "--json")) as HostStatus;
const kinds = ({ steps }: ReportDocument) => steps.map((step) => step.do);
const publish = (machine: TestMachine, os: OsImage) => `oci:${publishIn(machine.path, os)}`;

/** One that runs version 2, with version 1 to go back to. */
async function upgraded() {
  const machine = await installed();
  const first = machine.running!;
  publish(machine, { version: "2" });
  succeed(machine, "upgrade");
  succeed(machine, "finalize-staged");
  const second = machine.boot();
  succeed(machine, "boot-complete");
  return { machine, first, second };
}

describe("upgrade and switch", () => {
  test("what is fetched and staged, and that it takes a reboot", async () => {
    using machine = await installed();
    const reference = publish(machine, { version: "2", kernel: "other" });
    const { would, did } = both(machine, "upgrade");
    const status = look(machine).status;
    const fetch = {
      ...{ do: "fetch", image: reference, imageDigest: status.staged!.image!.imageDigest },
      layers: { missing: 1, all: 1, bytes: expect.any(Number) },
    };
    expect(would).toMatchObject({
      changed: true,
      steps: [
        fetch,
        { do: "stage", id: null, kernel: null, downloadOnly: false, follows: reference },
        { do: "collect" },
      ],
      deployments: [{ id: null, slot: "staged", image: status.staged!.image }],
      rebootRequired: true,
    });
    const id = status.staged!.composefs.verity;
    expect(did).toEqual({
      ...{ version: 1, dryRun: false, changed: true, rebootRequired: true },
      steps: expect.arrayContaining([
        fetch,
        { do: "stage", id, kernel: "6.12", downloadOnly: false, follows: reference },
      ]),
      deployments: [{ id, slot: "staged", image: status.staged!.image }],
    });
    const again = report(machine, "upgrade");
    expect(again).toMatchObject({ changed: false, steps: [], rebootRequired: true });
    expect(again.deployments).toEqual(did.deployments);
  });

  test("nothing new: nothing is changed, and nothing is to be rebooted into", async () => {
    using machine = await installed();
    const { did } = both(machine, "upgrade");
    expect(did).toMatchObject({
      ...{ changed: false, steps: [], rebootRequired: false },
      deployments: [{ id: machine.running, slot: "booted" }],
    });
  });

  test("what is only downloaded takes no reboot until it is unlocked; what it replaces is dropped", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    const { deployments } = report(machine, "upgrade");
    publish(machine, { version: "3" });
    const { did } = both(machine, "upgrade", "--download-only");
    expect(did.steps).toContainEqual({ do: "drop", id: deployments[0]!.id });
    expect(did).toMatchObject({ changed: true, rebootRequired: false });
    const id = did.deployments[0]!.id;
    expect(both(machine, "upgrade", "--from-downloaded").did).toMatchObject({
      ...{ steps: [{ do: "unlock", id }], rebootRequired: true },
      deployments: [{ id, slot: "staged" }],
    });
  });

  test("an image that is in the repository is taken from there", async () => {
    using machine = await installed();
    const reference = publish(machine, { version: "2" });
    succeed(machine, "upgrade", "--download-only");
    succeed(machine, "delete", "staged");
    const { status } = run(machine, "status");
    expect(status).toBe(0);
    await machine.pull({ version: "2" });
    const { would } = both(machine, "upgrade");
    expect(would.steps[0]).toMatchObject({ image: reference });
    expect(kinds(would).slice(1)).toEqual(["stage", "collect"]);
  });

  test("switch: another image; only another name for the one that there is", async () => {
    using machine = await installed();
    const current = look(machine).spec.image!.image;
    expect(both(machine, "switch", `oci:${current}`).did).toMatchObject({
      ...{ changed: false, rebootRequired: false, deployments: [{ id: machine.running }] },
    });
    const other = join(machine.path, "other");
    mkdirSync(other);
    const next = publishIn(other, { version: "1" });
    const { would, did } = both(machine, "switch", "--in-place", `oci:${next}`);
    expect(did).toEqual({ ...would, dryRun: false });
    expect(did).toMatchObject({
      steps: [{ do: "adopt", id: machine.running, follows: `oci:${next}` }],
      deployments: [{ image: { image: { image: next, transport: "oci" } } }],
      rebootRequired: false,
    });
    expect(look(machine).spec.image!.image).toBe(next);
  });

  test("an error is text on standard error, and there is no object", async () => {
    using machine = await installed();
    rmSync(join(machine.path, "published"), { recursive: true });
    const { status, stdout, stderr } = run(machine, "upgrade", "--json");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(/^cfsboot: error: oci:/);
  });
});

describe("upgrade --check", () => {
  test("tells from what to what an update leads", async () => {
    using machine = await installed();
    const reference = publish(machine, { version: "2" });
    const from = look(machine).status.booted!;
    const check = () => JSON.parse(succeed(machine, "upgrade", "--check", "--json"));
    const { imageDigest, version, timestamp } = from.image!;
    const expected = {
      available: true,
      image: reference,
      digest: expect.stringMatching(/^sha256:/),
      version: null,
      timestamp: null,
      deployment: null,
      layers: { missing: 1, all: 1, bytes: expect.any(Number) },
      from: { deployment: machine.running, digest: imageDigest, version, timestamp },
    };
    expect(check()).toEqual(expected);
    expect(check().digest).not.toBe(imageDigest);
    succeed(machine, "upgrade");
    const staged = look(machine).status.staged!;
    const { composefs, image } = staged;
    expect(check()).toMatchObject({
      available: false,
      digest: image!.imageDigest,
      deployment: composefs.verity,
      from: { deployment: composefs.verity, digest: image!.imageDigest },
    });
  });
});

describe("rollback, delete, gc", () => {
  test("rollback: the menu that is written; a second time, by its id, nothing", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    const { would, did } = both(machine, "rollback", first.slice(0, 12));
    expect(did).toEqual({ ...would, dryRun: false });
    expect(did).toMatchObject({
      steps: [{ do: "write-menu", menu: [first, second] }],
      deployments: [{ id: first, slot: "rollback", image: look(machine).status.rollback!.image }],
      rebootRequired: true,
    });
    expect(both(machine, "rollback", first.slice(0, 12)).did).toMatchObject({
      ...{ changed: false, steps: [], rebootRequired: true },
    });
    expect(both(machine, "rollback").did).toMatchObject({
      ...{ changed: true, rebootRequired: false, deployments: [{ id: second, slot: "booted" }] },
    });
  });

  test("what a boot partition has lost, and gets again, comes first", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    rmSync(join(machine.path, `esp/EFI/Linux/bootc_composefs-${first}`), { recursive: true });
    const { did } = both(machine, "upgrade");
    const path = join(machine.path, "esp");
    expect(did).toMatchObject({
      steps: [{ do: "write-kernel", kernel: first, release: "6.12", path }],
      deployments: [{ id: second }],
    });
    expect(both(machine, "upgrade").did).toMatchObject({ changed: false });
  });

  test("delete: what goes with it", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    const { would, did } = both(machine, "delete", "rollback");
    const image = would.deployments[0]!.image;
    expect(image).toMatchObject({ imageDigest: expect.stringMatching(/^sha256:/) });
    const menu = [
      { do: "write-menu", menu: [second] },
      { do: "drop", id: first },
    ];
    expect(would.steps).toEqual([...menu, { do: "collect" }]);
    expect(did).toMatchObject({
      steps: [
        ...menu,
        { do: "remove-state", id: first },
        { do: "untag", tag: `localhost/bootc-${image!.imageDigest}` },
        { do: "remove-objects", objects: expect.any(Number), bytes: expect.any(Number) },
      ],
      deployments: [{ id: first, slot: "rollback", image }],
      rebootRequired: false,
    });
  });

  test("delete of what is staged takes the reboot away", async () => {
    using machine = await installed();
    publish(machine, { version: "2" });
    succeed(machine, "upgrade");
    expect(both(machine, "delete", "staged").did).toMatchObject({
      ...{ changed: true, rebootRequired: false, deployments: [{ slot: "staged" }] },
    });
  });

  test("gc: what is removed; then nothing", async () => {
    const { machine } = await upgraded();
    using _ = machine;
    mkdirSync(machine.state("ab".repeat(32), "etc"), { recursive: true });
    const { would, did } = both(machine, "gc");
    expect(did).toEqual({ ...would, dryRun: false });
    expect(did).toMatchObject({
      steps: [{ do: "remove-state", id: "ab".repeat(32) }],
      ...{ deployments: [], rebootRequired: null },
    });
    expect(both(machine, "gc").did).toMatchObject({ changed: false, steps: [] });
  });
});

describe("pin, karg, edit", () => {
  test("pin and unpin: those that were not, or were", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    expect(both(machine, "pin", "rollback").did).toMatchObject({
      ...{ steps: [{ do: "pin", id: first }], deployments: [{ id: first }], rebootRequired: null },
    });
    expect(both(machine, "pin", "booted", "rollback", first.slice(0, 12)).did).toMatchObject({
      steps: [{ do: "pin", id: second }],
      deployments: [{ id: second, slot: "booted" }, { id: first }],
    });
    expect(both(machine, "unpin", "rollback").did.steps).toEqual([{ do: "unpin", id: first }]);
    expect(both(machine, "unpin", "rollback").did).toMatchObject({ changed: false, steps: [] });
  });

  test("karg: the arguments that the deployment has then", async () => {
    using machine = await installed();
    const id = machine.running!;
    const options = `root=UUID=1234 rw composefs=?${id} quiet`;
    const { would, did } = both(machine, "karg", "add", "quiet");
    expect(did).toEqual({ ...would, dryRun: false });
    expect(did).toMatchObject({
      steps: [{ do: "set-options", id, options }],
      ...{ deployments: [{ id }], rebootRequired: true },
    });
    expect(both(machine, "karg", "add", "quiet").did).toMatchObject({
      ...{ changed: false, steps: [], rebootRequired: false },
    });
    expect(kinds(both(machine, "karg", "replace", "quiet=1").did)).toEqual(["set-options"]);
    expect(kinds(both(machine, "karg", "delete", "quiet").did)).toEqual(["set-options"]);
  });

  test("edit: what the change takes", async () => {
    const { machine, first, second } = await upgraded();
    using _ = machine;
    const file = join(machine.path, "host.json");
    const wish = (bootOrder: string) => {
      const { spec } = look(machine);
      writeFileSync(file, JSON.stringify({ spec: { ...spec, bootOrder } }));
    };
    wish("default");
    expect(both(machine, "edit", "-f", file).did).toMatchObject({ changed: false });
    wish("rollback");
    expect(both(machine, "edit", "-f", file).did).toMatchObject({
      ...{ steps: [{ do: "write-menu", menu: [first, second] }], rebootRequired: true },
    });
  });
});
