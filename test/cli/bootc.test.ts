/** Machines as releases of bootc have left them: seen right, upgraded and gone back with. */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import type { HostStatus } from "../../src/model/host-status.ts";
import { linux } from "../../userspace/linux.ts";
import { openImage } from "../../userspace/oci/image.ts";
import { type OsImage, TestMachine } from "../deployment/machine.ts";
import { succeed } from "./on-machine.ts";
import { publishIn } from "./publish.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const look = (machine: TestMachine) =>
  JSON.parse(succeed(machine, "status", "--json")) as HostStatus;

/** Two deployments, the second one runs; `as` makes of it what an older program would have left. */
async function machineAs(as: (machine: TestMachine, ids: readonly string[]) => void) {
  const machine = new TestMachine();
  const os = (version: string): OsImage => ({ version, kernel: version });
  const name = publishIn(machine.path, os("1"));
  const reference = { transport: "oci", name, signature: undefined } as const;
  const first = await machine.stage(os("1"), { counted: false, reference });
  machine.boot();
  publishIn(machine.path, os("2"));
  succeed(machine, "upgrade");
  succeed(machine, "finalize-staged");
  const second = machine.boot();
  // it came up
  const entries = join(machine.path, "esp/loader/entries");
  for (const file of readdirSync(entries)) {
    renameSync(join(entries, file), join(entries, file.replace(/\+\d+(-\d+)?/, "")));
  }
  as(machine, [first, second]);
  return { machine, first, second };
}

/** Rewrites all files of a directory, names and texts. */
function rewrite(
  directory: string,
  change: (text: string, name: string) => string,
  rename: (name: string) => string = (name) => name,
): void {
  for (const name of readdirSync(directory)) {
    const text = change(readFileSync(join(directory, name), "utf8"), name);
    writeFileSync(join(directory, name), text);
    renameSync(join(directory, name), join(directory, rename(name)));
  }
}

const entriesOf = (machine: TestMachine) => join(machine.path, "esp/loader/entries");
const originOf = (machine: TestMachine, id: string) => machine.state(id, `${id}.origin`);

const LEFT: Record<string, (machine: TestMachine, ids: readonly string[]) => void> = {
  "1.16.9": () => {},
  "origin files without spaces, with a comment": (machine, ids) => {
    for (const id of ids) {
      const text = readFileSync(originOf(machine, id), "utf8");
      writeFileSync(originOf(machine, id), `; by hand\n${text.replaceAll(" = ", "=")}\n`);
    }
  },
  "both digests on the command line, from 1.17 on (bootc#2248, bootc defect: composefs.digest unknown)":
    (machine) => {
      rewrite(entriesOf(machine), (text) =>
        text.replace(/composefs=\?([0-9a-f]+)/, "composefs.digest=?v1-sha256-12:$1 composefs=?$1"),
      );
    },
  "entries named by their place (bootc#1777, bootc#1779)": (machine) => {
    rewrite(
      entriesOf(machine),
      (text) => text.replace(/sort-key .*-(\d)/, "sort-key $1"),
      (name) => name.replace(/.*-(\d)\.conf$/, "bootc-composefs-$1.conf"),
    );
  },
  "sort keys of a rollback and of an upgrade (bootc#2208, bootc#2224)": (machine) => {
    rewrite(entriesOf(machine), (text, name) =>
      name.endsWith("0.conf") ? text.replace(/sort-key .*/, "sort-key bootc-debian-1") : text,
    );
  },
  "kernels without a prefix, up to 1.15 (bootc#2074, bootc#2128)": (machine) => {
    const kernels = join(machine.path, "esp/EFI/Linux");
    for (const name of readdirSync(kernels)) {
      renameSync(join(kernels, name), join(kernels, name.replace("bootc_composefs-", "")));
    }
    rewrite(entriesOf(machine), (text) => text.replaceAll("/bootc_composefs-", "/"));
  },
  "images' documents beside the origin (.imginfo)": (machine, ids) => {
    for (const id of ids) {
      const text = readFileSync(originOf(machine, id), "utf8");
      const digest = /manifest_digest = (\S+)/.exec(text)![1]!;
      const parts = machine.with((_host, repository) => {
        const { manifest, config } = openImage(repository, `@${digest}`);
        const parse = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString());
        return { manifest: parse(manifest!.bytes), config: parse(config.bytes) };
      });
      writeFileSync(machine.state(id, `${id}.imginfo`), JSON.stringify(parts));
    }
  },
};

describe.each(Object.entries(LEFT))("%s", (_, as) => {
  test("is seen, upgraded, and gone back with", async () => {
    const { machine, first, second } = await machineAs(as);
    using _machine = machine;
    const host = look(machine);
    expect(host.status).toMatchObject({
      staged: null,
      booted: { composefs: { verity: second } },
      rollback: { composefs: { verity: first } },
      rollbackQueued: false,
    });
    expect(host.cfsboot.deployments.flatMap(({ damage }) => damage)).toEqual([]);

    succeed(machine, "rollback");
    expect(look(machine)).toMatchObject({
      spec: { bootOrder: "rollback" },
      status: { rollbackQueued: true },
    });
    succeed(machine, "rollback");
    expect(look(machine).status.rollbackQueued).toBe(false);

    publishIn(machine.path, { version: "3", kernel: "2" }); // the kernel is shared
    succeed(machine, "upgrade");
    expect(look(machine).cfsboot.deployments).toMatchObject([
      { slot: "staged" },
      { slot: "booted", id: second, dropped: false },
      { slot: "rollback", id: first, dropped: true },
    ]);
    succeed(machine, "finalize-staged");
    const third = machine.boot();
    expect([first, second]).not.toContain(third);
    const after = look(machine);
    expect(after.status.rollback?.composefs.verity).toBe(second);
    expect(after.cfsboot.deployments.flatMap(({ damage }) => damage)).toEqual([]);
    for (const name of readdirSync(entriesOf(machine))) {
      const entry = machine.read(`esp/loader/entries/${name}`);
      for (const [, path] of entry.matchAll(/^(?:linux|initrd) (.*)$/gm)) {
        expect(existsSync(join(machine.path, "esp", path!)), `${name}: ${path}`).toBe(true);
      }
    }
  });
});

test("what an early release staged, with nothing but the id in its record, is staged (bootc defect: record in text)", async () => {
  const { machine } = await machineAs(() => {});
  using _machine = machine;
  publishIn(machine.path, { version: "3" });
  succeed(machine, "upgrade");
  const staged = look(machine).status.staged!.composefs.verity;
  writeFileSync(join(machine.path, "run/staged-deployment"), staged);
  expect(look(machine).status.staged).toMatchObject({
    downloadOnly: false,
    composefs: { verity: staged },
  });
  succeed(machine, "finalize-staged");
  expect(machine.boot()).toBe(staged);
});
