/** What breaks bootc's composefs backend, or did, happens to a machine: the commands go on, or say what to do. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { type Linux, LinuxError } from "../../src/linux/linux.ts";
import type { HostStatus } from "../../src/model/host-status.ts";
import { planRollback } from "../../src/model/menu-plan.ts";
import { changeMenu } from "../../userspace/deployment/change.ts";
import { linux } from "../../userspace/linux.ts";
import { listTags, untagImage } from "../../userspace/oci/image.ts";
import { initRepository } from "../../userspace/repository/init.ts";
import { type OsImage, TestMachine } from "../deployment/machine.ts";
import { fail, run, succeed } from "./on-machine.ts";
import { publishIn } from "./publish.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const ENTRIES = "esp/loader/entries";
const STAGED = "esp/loader/entries.staged";

const os = (version: string): OsImage => ({ version });

function publish(machine: TestMachine, version: string): string {
  return `oci:${publishIn(machine.path, os(version))}`;
}

/** A machine that runs version 1. */
async function installed(loader?: "systemd-boot" | "grub"): Promise<TestMachine> {
  const machine = new TestMachine(loader);
  const name = publishIn(machine.path, os("1"));
  const reference = { transport: "oci", name, signature: undefined } as const;
  await machine.stage(os("1"), { counted: false, reference });
  machine.with((_host, repository) => untagImage(repository, "x"));
  machine.boot();
  return machine;
}

/** Upgrades it to another version and boots that. */
function upgrade(machine: TestMachine, version: string): string {
  publish(machine, version);
  succeed(machine, "upgrade");
  succeed(machine, "finalize-staged");
  return machine.boot();
}

const look = (machine: TestMachine) =>
  JSON.parse(succeed(machine, "status", "--json")) as HostStatus;
const slots = (machine: TestMachine) => look(machine).cfsboot.deployments.map(({ slot }) => slot);

/** All files below a directory, and what is in them. */
function snapshot(directory: string): ReadonlyMap<string, string> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  return new Map(files.map((path) => [path, readFileSync(path, "base64")]));
}

describe("what was lost", () => {
  test("the documents of an image: what runs is seen, goes back, and is upgraded (bootc#2422)", async () => {
    using machine = await installed();
    const first = machine.running!;
    const second = upgrade(machine, "2");
    rmSync(join(machine.repositoryPath, "streams/refs/oci"), { recursive: true });
    for (const name of machine.names("sysroot/composefs/streams")) {
      if (/^oci-(manifest|config)-/.test(name)) {
        unlinkSync(join(machine.repositoryPath, "streams", name));
      }
    }
    const { status, cfsboot } = look(machine);
    expect(status).toMatchObject({
      booted: { composefs: { verity: second } },
      rollback: { composefs: { verity: first } },
    });
    expect(cfsboot.warnings.join()).toContain("there is no such image");
    succeed(machine, "rollback");
    succeed(machine, "rollback");
    const third = upgrade(machine, "3");
    expect(look(machine).status).toMatchObject({
      booted: { composefs: { verity: third } },
      rollback: { composefs: { verity: second } },
    });
  });

  test("the origin of what runs: it is seen, and a switch gives the machine one again (bootc test 45)", async () => {
    using machine = await installed();
    const first = machine.running!;
    rmSync(machine.state(first, `${first}.origin`));
    expect(look(machine)).toMatchObject({ spec: { image: null }, status: { booted: {} } });
    expect(fail(machine, "upgrade")).toContain("the machine follows no image: ");
    succeed(machine, "switch", publish(machine, "2"));
    succeed(machine, "finalize-staged");
    machine.boot();
    expect(look(machine).spec.image).toMatchObject({ transport: "oci" });
  });

  test.each<[string, (path: string) => void]>([
    ["gone", (path) => rmSync(path)],
    ["empty", (path) => writeFileSync(path, "")],
    ["no text", (path) => writeFileSync(path, Uint8Array.of(0xff))],
  ])(
    "the origin of what runs, which is %s: a switch to the same image writes it again",
    async (_how, lose) => {
      using machine = await installed();
      const first = machine.running!;
      const { image } = look(machine).spec.image!;
      const path = machine.state(first, `${first}.origin`);
      const before = readFileSync(path, "utf8");
      const damage = () => look(machine).cfsboot.deployments[0]!.damage;
      for (const options of [[], ["--in-place"]]) {
        lose(path);
        expect(damage()).toEqual([expect.stringContaining(`${first}.origin`)]);
        expect(fail(machine, "upgrade")).toMatch(
          /the machine follows no image: .*\/sysroot\/state\/deploy\/[0-9a-f]+: .*\.origin.*\nhint: cfsboot switch/,
        );
        succeed(machine, "switch", ...options, "--dry-run", `oci:${image}`);
        expect(damage()).toHaveLength(1);
        expect(succeed(machine, "switch", ...options, `oci:${image}`)).toContain(
          `follows oci:${image}\n`,
        );
        expect(readFileSync(path, "utf8")).toBe(before);
        expect(damage()).toEqual([]);
      }
      expect(succeed(machine, "upgrade")).toContain("it is what runs");
    },
  );

  test("origins, and what says which image they are of: a switch finds that out", async () => {
    using machine = await installed();
    const first = machine.running!;
    const second = upgrade(machine, "2");
    const origin = (id: string) => machine.state(id, `${id}.origin`);
    const before = [first, second].map((id) => readFileSync(origin(id), "utf8"));
    for (const id of [first, second]) rmSync(origin(id));
    machine.with((_host, repository) => {
      for (const { tag } of listTags(repository)) untagImage(repository, tag);
    });
    const reference = publish(machine, "2");
    expect(fail(machine, "switch", "--in-place", reference)).toContain("hint: without --in-place");
    expect(succeed(machine, "switch", reference)).toContain(`follows ${reference}\n`);
    expect(readFileSync(origin(second), "utf8")).toBe(before[1]);
    mkdirSync(join(machine.path, "other"));
    const other = `oci:${publishIn(join(machine.path, "other"), os("1"))}`;
    expect(fail(machine, "switch", other)).toContain(
      "hint: cfsboot switch --in-place makes it follow",
    );
    expect(succeed(machine, "switch", "--in-place", other)).toContain(`follows ${other}\n`);
    // the first one was of a manifest that nothing names any more
    const withoutManifest = (text: string) => text.replace(/(manifest_digest = sha256:)\w+/, "$1");
    expect(withoutManifest(readFileSync(origin(first), "utf8"))).toBe(
      withoutManifest(before[0]!).replace("/published:", "/other/published:"),
    );
  });

  test("/run/composefs after staging: it can be staged again (bootc test 45)", async () => {
    using machine = await installed();
    publish(machine, "2");
    succeed(machine, "upgrade");
    rmSync(join(machine.path, "run"), { recursive: true });
    mkdirSync(join(machine.path, "run"));
    expect(slots(machine)).toEqual(["booted"]);
    expect(succeed(machine, "upgrade")).toMatch(/^Queued for next boot: /);
    expect(slots(machine)).toEqual(["staged", "booted"]);
  });

  test("all that GRUB has in /boot: status tells what runs (bootc#2203)", async () => {
    using machine = await installed("grub");
    for (const name of machine.names("esp")) {
      rmSync(join(machine.path, "esp", name), { recursive: true });
    }
    const { status, stdout } = run(machine, "status", "--json");
    expect({ status, host: JSON.parse(stdout) }).toMatchObject({
      status: 0,
      host: { status: { booted: { composefs: { verity: machine.running } } } },
    });
  });
});

describe("what is too much", () => {
  test("a staged menu of an interrupted run does not come back with the next one (bootc defect: staged menu survives)", async () => {
    using machine = await installed();
    publish(machine, "2");
    succeed(machine, "upgrade");
    const [left] = look(machine).cfsboot.deployments;
    writeFileSync(join(machine.path, STAGED, "bootc_other-1-7.conf"), "version 1\nlinux /x\n");
    rmSync(join(machine.path, "run/staged-deployment"));
    const third = upgrade(machine, "3");
    expect(machine.names(ENTRIES).sort()).toEqual([
      "bootc_debian-3-0.conf",
      "bootc_debian-3-1+3.conf",
    ]);
    expect(machine.names("sysroot/state/deploy")).not.toContain(left!.id);
    expect(machine.running).toBe(third);
  });

  test("two families of sort keys and an entry twice, as rollback and switch left them: there is a rollback (bootc#2224, dakota#531, dakota#665)", async () => {
    using machine = await installed();
    const first = machine.running!;
    const second = upgrade(machine, "2");
    succeed(machine, "pin", "rollback");
    const third = upgrade(machine, "3");
    const of = (id: string) => {
      const file = machine
        .names(ENTRIES)
        .find((one) => machine.read(`${ENTRIES}/${one}`).includes(id));
      return machine.read(`${ENTRIES}/${file}`);
    };
    const entries = {
      "bootc_bluefin_dakota-20260528-0.conf": [of(second), "bootc-bluefin-dakota-1"],
      "bootc_bluefin_dakota-20260530-1.conf": [of(third), "bootc-bluefin-dakota-0"],
      "bootc_bootc-20260527-1.conf": [of(first), "bootc-bootc-0"],
      "bootc_bootc-20260528-0.conf": [of(second), "bootc-bootc-1"],
    } as const;
    rmSync(join(machine.path, ENTRIES), { recursive: true });
    mkdirSync(join(machine.path, ENTRIES));
    for (const [name, [text, key]] of Object.entries(entries)) {
      const changed = text.replace(/sort-key .*/, `sort-key ${key}`);
      writeFileSync(join(machine.path, ENTRIES, name), changed);
    }
    expect(look(machine).cfsboot.deployments.map(({ id, slot }) => [slot, id])).toEqual([
      ["booted", third],
      ["rollback", second],
      ["other", first],
    ]);
    succeed(machine, "rollback");
    expect(machine.boot()).toBe(second);
    expect(machine.names(ENTRIES)).toHaveLength(3);
    succeed(machine, "rollback", first);
    expect(machine.boot()).toBe(first);
  });
});

describe("what is staged", () => {
  test("is taken back alone, and what is booted next stays (bootc#946)", async () => {
    using machine = await installed();
    const second = upgrade(machine, "2");
    publish(machine, "3");
    succeed(machine, "upgrade");
    succeed(machine, "delete", "staged");
    expect(look(machine)).toMatchObject({
      spec: { bootOrder: "default" },
      status: { staged: null, rollbackQueued: false },
    });
    expect(existsSync(join(machine.path, STAGED))).toBe(false);
    expect(machine.boot()).toBe(second);
  });

  test("goes with a rollback only if the rollback comes about (bootc defect: rollback loses what is staged)", async () => {
    using machine = await installed();
    const first = machine.running!;
    const second = upgrade(machine, "2");
    publish(machine, "3");
    succeed(machine, "upgrade");
    const failing: Linux = {
      ...linux,
      renameat2() {
        throw new LinuxError(5, "EIO", "Input/output error", "renameat2", "entries");
      },
    };
    const rollBack = (on: Linux) =>
      machine.with((host, _repository, seen) => {
        changeMenu({ ...host, linux: on }, seen, planRollback(seen, undefined, true));
      });
    expect(() => rollBack(failing)).toThrow();
    expect(slots(machine)).toEqual(["staged", "booted", "rollback"]);
    rollBack(linux);
    expect(look(machine).cfsboot.deployments.map(({ id }) => id)).toEqual([first, second]);
  });
});

describe("what older releases made", () => {
  test("a repository for images of the second format is used as it is (bootc#2329)", async () => {
    using machine = new TestMachine();
    rmSync(machine.repositoryPath, { recursive: true });
    initRepository(machine.repositoryPath, { hash: "sha512", format: 2, insecure: true });
    const name = publishIn(machine.path, os("1"));
    const reference = { transport: "oci", name, signature: undefined } as const;
    const first = await machine.stage(os("1"), { counted: false, reference });
    machine.boot();
    const before = machine.read("sysroot/composefs/meta.json");
    const second = upgrade(machine, "2");
    expect([first, second].map((id) => id.length)).toEqual([128, 128]);
    expect(machine.read("sysroot/composefs/meta.json")).toBe(before);
    expect(look(machine).cfsboot.deployments.flatMap(({ damage }) => damage)).toEqual([]);
  });

  test("an entry with another initrd keeps it, whatever is done with the menu (bootc#2367, bootc#2414)", async () => {
    using machine = await installed();
    const [name] = machine.names(ENTRIES);
    const path = join(machine.path, ENTRIES, name!);
    writeFileSync(
      path,
      `${readFileSync(path, "utf8")}initrd /addon.cpio
`,
    );
    upgrade(machine, "2");
    succeed(machine, "karg", "add", "quiet");
    succeed(machine, "rollback");
    const [entry] = machine
      .names(ENTRIES)
      .map((file) => machine.read(`${ENTRIES}/${file}`))
      .filter((text) => text.includes("title Debian 1"));
    expect(entry?.match(/^initrd .*$/gm)).toEqual([
      expect.stringMatching(/^initrd \/EFI\/Linux\/bootc_composefs-[0-9a-f]+\/initrd$/),
      "initrd /addon.cpio",
    ]);
  });
});

describe("what the repository refuses", () => {
  test("garbage that cannot be collected fails neither an upgrade nor the finalizing (bootc defect: collection fails finalize)", async () => {
    using machine = await installed();
    publish(machine, "2");
    // a reference to something that is not there: what is live cannot be known
    symlinkSync("../../nothing", join(machine.repositoryPath, "streams/refs/application"));
    const { status, stderr } = run(machine, "upgrade");
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("warning: ") });
    expect(run(machine, "finalize-staged").status).toBe(0);
    machine.boot();
    expect(slots(machine)).toEqual(["booted", "rollback"]);
  });

  test("one process has the repository open once: what it collects does not wait for itself (bootc#2364, bootc#2365, bootc#2398)", async () => {
    using machine = await installed();
    const first = machine.running!;
    upgrade(machine, "2");
    upgrade(machine, "3");
    expect(machine.names("sysroot/composefs/images")).toContain(first);
    upgrade(machine, "4"); // what boots no more since the third goes
    expect(machine.names("sysroot/composefs/images")).not.toContain(first);
    const tags = machine.with((_host, repository) => listTags(repository).map(({ tag }) => tag));
    expect(tags.filter((tag) => tag.startsWith("localhost/bootc-"))).toHaveLength(2);
  });
});

describe("what only looks, or is not there", () => {
  test("status and upgrade --check write nothing, whatever there is to mend (bootc defect: status writes)", async () => {
    using machine = await installed();
    upgrade(machine, "2");
    const kernels = join(machine.path, "esp/EFI/Linux");
    for (const name of machine.names(ENTRIES)) {
      const file = join(machine.path, ENTRIES, name);
      writeFileSync(file, readFileSync(file, "utf8").replaceAll("/bootc_composefs-", "/"));
    }
    for (const name of readdirSync(kernels)) {
      renameSync(join(kernels, name), join(kernels, name.replace("bootc_composefs-", "")));
    }
    rmSync(join(machine.repositoryPath, "meta.json"));
    mkdirSync(machine.state("ab".repeat(64)));
    publish(machine, "3");
    const before = snapshot(machine.path);
    look(machine);
    succeed(machine, "upgrade", "--check");
    succeed(machine, "gc", "--dry-run");
    expect(snapshot(machine.path)).toEqual(before);
  });

  test("--check stages nothing, also of an image that is in the repository (bootc defect: check stages)", async () => {
    using machine = await installed();
    await machine.pull(os("2"));
    publish(machine, "2");
    const before = snapshot(machine.path);
    expect(succeed(machine, "upgrade", "--check")).toContain("0 of 1 layers");
    expect(snapshot(machine.path)).toEqual(before);
  });

  test("a rollback by soft reboot is not taken for one with a reboot (bootc defect: rollback ignores --soft-reboot)", async () => {
    using machine = await installed();
    upgrade(machine, "2");
    expect(run(machine, "rollback", "--soft-reboot", "auto")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("--soft-reboot"),
    });
    expect(look(machine).status.rollbackQueued).toBe(false);
  });
});
