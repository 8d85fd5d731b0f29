/** A machine's life, in temporary directories. */
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { planDelete, planRollback } from "../../src/model/menu-plan.ts";
import { changeMenu, setPinned } from "../../userspace/deployment/change.ts";
import { collect } from "../../userspace/deployment/gc.ts";
import { linux } from "../../userspace/linux.ts";
import { type OsImage, TestMachine } from "./machine.ts";

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});

const FIRST: OsImage = { version: "13", etc: { "app.conf": "one\n", unchanged: "a\n" } };
const SECOND: OsImage = {
  version: "14",
  etc: { "app.conf": "two\n", new: "n\n", unchanged: "b\n" },
};

/** A machine that runs the first image. */
async function installed(): Promise<TestMachine> {
  const machine = new TestMachine();
  const first = await machine.stage(FIRST, { counted: false });
  expect(machine.boot()).toBe(first);
  return machine;
}

const MENU = "esp/loader/entries";

test("what is deployed first has bootc's layout", async () => {
  using machine = await installed();
  const first = machine.running!;
  expect(machine.names(MENU)).toEqual(["bootc_debian-13-0.conf"]);
  expect(machine.read(`${MENU}/bootc_debian-13-0.conf`)).toBe(
    [
      "title Debian 13",
      "version 13",
      `linux /EFI/Linux/bootc_composefs-${first}/vmlinuz`,
      `initrd /EFI/Linux/bootc_composefs-${first}/initrd`,
      `options root=UUID=1234 rw composefs=?${first}`,
      "sort-key bootc-debian-0",
      "",
    ].join("\n"),
  );
  expect(machine.names(`esp/EFI/Linux/bootc_composefs-${first}`)).toEqual(["initrd", "vmlinuz"]);
  expect(machine.names(`sysroot/state/deploy/${first}`)).toEqual(
    [`${first}.origin`, "etc", "var"].sort(),
  );
  expect(readlinkSync(machine.state(first, "var"))).toBe("../../os/default/var");
  expect(existsSync(machine.state(first, "var/."))).toBe(true);
  expect(readFileSync(machine.state(first, "etc/hostname"), "utf8")).toBe("image\n");
});

test("an update is staged, merged and booted at the next start, and not before", async () => {
  using machine = await installed();
  const first = machine.running!;
  writeFileSync(machine.etc("hostname"), "mine\n");
  writeFileSync(machine.etc("local"), "l\n");

  const second = await machine.stage(SECOND);
  expect(machine.read("run/staged-deployment")).toBe(
    `{"depl_id":"${second}","finalization_locked":false}`,
  );
  expect(machine.names(MENU)).toEqual(["bootc_debian-13-0.conf"]);
  writeFileSync(machine.etc("later"), "after it was staged\n");

  expect(machine.shutDown()).toMatchObject({ done: true, id: second });
  expect(machine.names(MENU)).toEqual(["bootc_debian-14-0.conf", "bootc_debian-14-1+3.conf"]);
  expect(machine.names("esp/loader")).toEqual(["entries"]);
  expect(machine.boot()).toBe(second);
  const etc = (name: string) => readFileSync(machine.etc(name), "utf8");
  expect(etc("hostname")).toBe("mine\n");
  expect(etc("local")).toBe("l\n");
  expect(etc("later")).toBe("after it was staged\n");
  expect(etc("app.conf")).toBe("two\n");
  expect(etc("new")).toBe("n\n");
  machine.with((_host, _repository, seen) => {
    expect(seen).toMatchObject({
      booted: { id: second },
      rollback: { id: first },
      staged: undefined,
    });
    expect(seen.deployments.flatMap(({ damage }) => damage)).toEqual([]);
    expect(seen.leftovers).toEqual({
      stagedMenu: false,
      record: undefined,
      states: [],
      artifacts: [],
    });
  });
});

test("shutting down twice, or with nothing staged, changes nothing", async () => {
  using machine = await installed();
  expect(machine.shutDown()).toEqual({ done: false, why: "nothing is staged" });
  await machine.stage(SECOND);
  machine.shutDown();
  const after = machine.names(MENU);
  expect(machine.shutDown()).toMatchObject({ done: false });
  expect(machine.names(MENU)).toEqual(after);
});

test("what is only downloaded stays as it is, and is gone with the boot", async () => {
  using machine = await installed();
  const first = machine.running!;
  const second = await machine.stage(SECOND, { locked: true });
  expect(machine.shutDown()).toEqual({ done: false, why: "what is staged is only downloaded" });
  expect(machine.boot()).toBe(first);
  machine.with((host, repository, seen) => {
    expect(seen).toMatchObject({
      staged: undefined,
      leftovers: { stagedMenu: true, states: [second] },
    });
    collect(host, repository);
  });
  machine.with((_host, _repository, seen) => {
    expect(seen.leftovers).toEqual({
      stagedMenu: false,
      record: undefined,
      states: [],
      artifacts: [],
    });
  });
  expect(machine.names("esp/EFI/Linux")).toHaveLength(1);
});

test("the same kernel is kept once, and goes with the last that boots it (bootc#2102)", async () => {
  using machine = await installed();
  const first = machine.running!;
  const second = await machine.stage(SECOND);
  machine.shutDown();
  machine.boot();
  expect(machine.names("esp/EFI/Linux")).toEqual([`bootc_composefs-${first}`]);
  const third = await machine.stage({ ...SECOND, version: "15", kernel: "7.0" });
  machine.shutDown();
  expect(machine.boot()).toBe(third);
  machine.with((host, repository) => collect(host, repository));
  expect(machine.names("esp/EFI/Linux")).toEqual(
    [`bootc_composefs-${first}`, `bootc_composefs-${third}`].sort(),
  );
  expect(machine.names("sysroot/state/deploy")).toEqual([second, third].sort());
});

test("arguments of the kernel: the machine's stay, the image's come and go", async () => {
  using machine = new TestMachine();
  await machine.stage(
    { ...FIRST, kargs: ["quiet", "a=1"] },
    { counted: false, options: "root=UUID=1 rw local" },
  );
  machine.boot();
  const second = await machine.stage({ ...SECOND, kargs: ["quiet", "b"] });
  machine.shutDown();
  machine.boot();
  machine.with((_host, _repository, { booted }) => {
    expect(booted!.entry.bls.options).toBe(`root=UUID=1 rw local composefs=?${second} quiet b`);
  });
});

test("a rollback goes back, with /etc as it was; and forth", async () => {
  using machine = await installed();
  const first = machine.running!;
  const second = await machine.stage(SECOND);
  machine.shutDown();
  machine.boot();
  for (const expected of [first, second]) {
    machine.with((host, _repository, seen) => {
      changeMenu(host, seen, planRollback(seen, undefined, false));
    });
    expect(machine.boot()).toBe(expected);
    expect(readFileSync(machine.etc("app.conf"), "utf8")).toBe(
      expected === first ? "one\n" : "two\n",
    );
  }
});

test("pinned ones outlive updates; deleted ones and their files go (bootc#904)", async () => {
  using machine = await installed();
  const first = machine.running!;
  machine.with((host, _repository, { booted }) => setPinned(host, booted!, true));
  const ids = [first];
  for (const version of ["14", "15"]) {
    ids.push(await machine.stage({ version, kernel: version }));
    machine.shutDown();
    machine.boot();
    machine.with((host, repository) => collect(host, repository));
  }
  const [, second, third] = ids as [string, string, string];
  machine.with((host, _repository, seen) => {
    expect(seen.deployments.map(({ id }) => id)).toEqual([third, second, first]);
    expect(seen.deployments.flatMap(({ damage }) => damage)).toEqual([]);
    changeMenu(host, seen, planDelete(seen, seen.rollback!));
  });
  machine.with((host, repository) => collect(host, repository));
  expect(machine.names("esp/EFI/Linux")).toEqual(
    [first, third].map((id) => `bootc_composefs-${id}`).sort(),
  );
  expect(machine.names("sysroot/state/deploy")).toEqual([first, third].sort());
  expect(machine.names("sysroot/composefs/images")).not.toContain(second);
  expect(machine.boot()).toBe(third);
});

test("files of others in the menu stay, whatever happens (bootc#2228)", async () => {
  using machine = await installed();
  const foreign = join(machine.path, MENU, "fwupd.conf");
  writeFileSync(foreign, "title Firmware\nefi /EFI/fwupd.efi\n");
  await machine.stage(SECOND);
  writeFileSync(join(machine.path, MENU, "later.conf"), "efi /x.efi\n");
  mkdirSync(join(machine.path, "esp/EFI/Linux/other"));
  machine.shutDown();
  machine.boot();
  machine.with((host, repository, seen) => {
    changeMenu(host, seen, planRollback(seen, undefined, false));
    collect(host, repository);
  });
  expect(machine.read(`${MENU}/fwupd.conf`)).toBe("title Firmware\nefi /EFI/fwupd.efi\n");
  expect(machine.names(MENU)).toContain("later.conf");
  expect(machine.names("esp/EFI/Linux")).toContain("other");
});

test("the same image again is an error that says which deployment it is", async () => {
  using machine = await installed();
  await expect(machine.stage(FIRST)).rejects.toThrow(
    "same fs-verity digest as the booted deployment",
  );
});
