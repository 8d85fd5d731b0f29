/** Machines whose kernels have the names that early releases of bootc gave them, without a prefix. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY, O_TRUNC, O_WRONLY } from "../../src/linux/constants.ts";
import { readFile, writeAll } from "../../src/linux/files.ts";
import { planDelete } from "../../src/model/menu-plan.ts";
import { stepText } from "../../src/model/steps.ts";
import { changeMenu } from "../../userspace/deployment/change.ts";
import {
  collect,
  collectBootFiles,
  collectionSteps,
  planCollection,
} from "../../userspace/deployment/gc.ts";
import type { Host } from "../../userspace/deployment/host.ts";
import { linux } from "../../userspace/linux.ts";
import { listTags } from "../../userspace/oci/image.ts";
import { bootables } from "../model-disk/boots.ts";
import { PowerFailure } from "../model-disk/crash.ts";
import { ModelMachine } from "../model-disk/machine.ts";
import { type OsImage, TestMachine } from "./machine.ts";

const PREFIX = "bootc_composefs-";
const ENTRIES = "esp/loader/entries";

/** Installs images, one after the other, each with a kernel of its own if it says so; the last one runs. */
function installed(...images: OsImage[]): Promise<{ machine: TestMachine; ids: string[] }> {
  return installedOn(new TestMachine(), ...images);
}

async function installedOn(machine: TestMachine, ...images: OsImage[]) {
  const ids: string[] = [];
  for (const os of images) {
    // without a running system each one comes first in the menu at once
    ids.push(await machine.stage(os, { keep: images.length + 1 }));
  }
  machine.boot();
  return { machine, ids: ids.toReversed() };
}

/** Takes the prefix from these kernels, and the file names that early releases gave to entries. */
function age(machine: TestMachine, artifacts: readonly string[]): void {
  const directory = join(machine.path, machine.loader === "grub" ? "esp" : "esp/EFI/Linux");
  for (const id of artifacts) renameSync(join(directory, PREFIX + id), join(directory, id));
  for (const name of machine.names(ENTRIES)) {
    const path = join(machine.path, ENTRIES, name);
    const text = artifacts.reduce(
      (all, id) => all.replaceAll(PREFIX + id, id),
      readFileSync(path, "utf8"),
    );
    writeFileSync(path, text);
  }
}

const tidy = (machine: TestMachine, change: (host: Host) => Host = (host) => host) =>
  machine.with((host, repository, state) =>
    collectBootFiles(change(host), repository, planCollection(repository, state)),
  );

/** What the menu has, in its order: deployment, the directory of its kernel, and what is wrong. */
const menuOf = (machine: TestMachine) =>
  machine.with((_host, _repository, { deployments }) =>
    deployments.map(({ id, entry, damage }) => [id, entry.directory, damage]),
  );
const prefixed = (ids: readonly string[]) => ids.map((id) => [id, PREFIX + id, []]);

const KERNELS: OsImage[] = ["a", "b", "c"].map((kernel) => ({ version: "13", kernel }));

test("the migration does not drop the entries that are prefixed already, as bootc's does of mixed sets (bootc defect: migration drops entries)", async () => {
  const { machine, ids } = await installed(...KERNELS);
  using _ = machine;
  age(machine, [ids[1]!]);
  expect(menuOf(machine).map(([, directory]) => directory)).toEqual([
    PREFIX + ids[0],
    ids[1],
    PREFIX + ids[2],
  ]);
  const steps = machine.with((_host, repository, state) =>
    collectionSteps(planCollection(repository, state)).map((step) => stepText(step, state)),
  );
  expect(steps).toEqual([
    `give kernel ${ids[1]!.slice(0, 12)} the name that it has today: ${PREFIX}${ids[1]!.slice(0, 12)}…`,
  ]);
  tidy(machine);
  expect(menuOf(machine)).toEqual(prefixed(ids));
  expect(machine.names("esp/EFI/Linux")).toEqual(ids.map((id) => PREFIX + id).sort());
  // a second time there is nothing to do
  const before = machine.names(ENTRIES);
  tidy(machine);
  expect(machine.names(ENTRIES)).toEqual(before);
});

test("entries of one version do not get one file name in the migration, as with bootc's, though the booted one shares an older kernel (bootc defect: migration gives one name twice)", async () => {
  const os = (version: string, app: string): OsImage => ({ version, kernel: "k", etc: { app } });
  const { machine, ids } = await installed(os("13", "one"), os("13", "two"), os("13", "three"));
  using _ = machine;
  const shared = ids.at(-1)!;
  age(machine, [shared]);
  expect(menuOf(machine)).toEqual(ids.map((id) => [id, shared, []]));
  tidy(machine);
  expect(menuOf(machine)).toEqual(ids.map((id) => [id, PREFIX + shared, []]));
  expect(machine.names(ENTRIES)).toHaveLength(3);
  expect(machine.names("esp/EFI/Linux")).toEqual([PREFIX + shared]);
});

test("entries that early releases called bootc-composefs-0.conf keep their order, and what is missing of origins is no obstacle", async () => {
  const { machine, ids } = await installed(...KERNELS.slice(0, 2));
  using _ = machine;
  age(machine, ids);
  const entries = join(machine.path, ENTRIES);
  for (const [place, name] of machine.names(ENTRIES).toReversed().entries()) {
    const text = readFileSync(join(entries, name), "utf8");
    rmSync(join(entries, name));
    const old = text.replace(/^sort-key .*$/m, `sort-key ${place}`);
    writeFileSync(join(entries, `bootc-composefs-${place}.conf`), old);
  }
  rmSync(machine.state(ids[0]!, `${ids[0]}.origin`));
  const order = menuOf(machine).map(([id]) => id);
  expect(order).toEqual(ids);
  tidy(machine);
  expect(menuOf(machine).map(([id, directory]) => [id, directory])).toEqual(
    ids.map((id) => [id, PREFIX + id]),
  );
});

test("in a /boot that GRUB reads, among all else that is there", async () => {
  const { machine, ids } = await installedOn(new TestMachine("grub"), ...KERNELS);
  using _ = machine;
  writeFileSync(join(machine.path, "esp/vmlinuz-6.1"), "theirs");
  age(machine, ids.slice(1));
  expect(menuOf(machine).map(([id, directory]) => [id, directory])).toEqual([
    [ids[0], PREFIX + ids[0]],
    [ids[1], ids[1]],
    [ids[2], ids[2]],
  ]);
  tidy(machine);
  expect(menuOf(machine)).toEqual(prefixed(ids));
  expect(machine.names("esp")).toEqual(
    [...ids.map((id) => PREFIX + id), "loader", "vmlinuz-6.1"].sort(),
  );
  expect(machine.read(`${ENTRIES}/cfsboot.cfg`)).not.toContain(`/${ids[1]}/`);
});

test("without room for the copies all stays as it is, and boots", async () => {
  const { machine, ids } = await installed(...KERNELS.slice(0, 2));
  using _ = machine;
  age(machine, ids);
  const before = menuOf(machine);
  tidy(machine, (host) => ({
    ...host,
    linux: { ...linux, fstatfs: (fd) => ({ ...linux.fstatfs(fd), available: 0 }) },
  }));
  expect(menuOf(machine)).toEqual(before);
  expect(before).toEqual(ids.map((id) => [id, id, []]));
  tidy(machine);
  expect(menuOf(machine)).toEqual(prefixed(ids));
});

test("directories that bootc had renamed before it was cut off are found again, though the entries lead nowhere", async () => {
  const { machine, ids } = await installed(...KERNELS.slice(0, 2));
  using _ = machine;
  age(machine, ids);
  const directory = join(machine.path, "esp/EFI/Linux");
  for (const id of ids) renameSync(join(directory, id), join(directory, PREFIX + id));
  expect(menuOf(machine)[0]).toEqual([
    ids[0],
    ids[0],
    [`its kernel ${ids[0]} is not on the boot partition`],
  ]);
  tidy(machine);
  expect(menuOf(machine)).toEqual(prefixed(ids));
});

test("an upgrade and a rollback work with the old names, and a kernel that goes goes under its old name, too", async () => {
  const { machine, ids } = await installed(...KERNELS.slice(0, 2));
  using _ = machine;
  age(machine, ids);
  machine.with((host, _repository, state) =>
    changeMenu(host, state, planDelete(state, state.rollback!)),
  );
  expect(menuOf(machine)).toEqual([[ids[0], ids[0], []]]);
  tidy(machine);
  expect(machine.names("esp/EFI/Linux")).toEqual([PREFIX + ids[0]]);
});

test("a directory that only looks like one of ours stays", async () => {
  const { machine } = await installed(KERNELS[0]!);
  using _ = machine;
  const theirs = join(machine.path, "esp/EFI/Linux", "ab".repeat(64));
  mkdirSync(theirs);
  writeFileSync(join(theirs, "notes"), "");
  tidy(machine);
  expect(readdirSync(theirs)).toEqual(["notes"]);
});

/** A model machine with two deployments, whose kernels have the old names. */
async function aged(): Promise<{ machine: ModelMachine; ids: readonly string[] }> {
  const machine = ModelMachine.create();
  const manifests: string[] = [];
  for (const [index, kernel] of ["6.12", "6.13"].entries()) {
    manifests.push(await machine.pull({ version: `${13 + index}`, kernel: kernel.repeat(50) }));
  }
  const ids = manifests.map((manifest) => machine.stage(manifest)).toReversed();
  const { linux } = machine;
  for (const id of ids) {
    linux.renameat2(AT_FDCWD, `/esp/EFI/Linux/${PREFIX}${id}`, AT_FDCWD, `/esp/EFI/Linux/${id}`, 0);
  }
  const entries = linux.openat(AT_FDCWD, "/esp/loader/entries", O_RDONLY | O_DIRECTORY);
  for (const { name } of linux.readdir(entries)) {
    const path = `/esp/loader/entries/${name}`;
    const text = Buffer.from(readFile(linux, AT_FDCWD, path, 1 << 16)).toString();
    const fd = linux.openat(AT_FDCWD, path, O_WRONLY | O_TRUNC);
    writeAll(linux, fd, Buffer.from(text.replaceAll(PREFIX, "")));
    linux.close(fd);
  }
  linux.syncfs(entries);
  linux.close(entries);
  return { machine: machine.booted(), ids };
}

test("the power fails at any moment of the migration: all that booted boots, and the next command completes it", {
  timeout: 300_000,
}, async () => {
  const { machine: start, ids } = await aged();
  const before = bootables(start).map(({ id, options, etc }) => ({ id, options, etc }));
  expect(before.map(({ id }) => id)).toEqual(ids);
  const changes = await start
    .copy()
    .record((machine) => machine.with((host, repository) => collect(host, repository)));
  const failure = new PowerFailure(start.disk);
  for (const change of [undefined, ...changes]) {
    if (change !== undefined) failure.advance(change);
    for (const disk of failure.newStates()) {
      const machine = start.booted(disk);
      expect(bootables(machine)).toMatchObject(before);
      machine.with((host, repository) => collect(host, repository));
      expect(bootables(machine)).toMatchObject(before);
      machine.with((host, _repository, { deployments, leftovers }) => {
        expect(deployments.map(({ entry }) => entry.directory)).toEqual(
          ids.map((id) => PREFIX + id),
        );
        expect(leftovers.artifacts).toEqual([]);
        const kernels = host.linux.openat(AT_FDCWD, "/esp/EFI/Linux", O_RDONLY | O_DIRECTORY);
        // a second name of a directory that is in use stays: only fsck.vfat can part them
        const names = host.linux.readdir(kernels).map(({ name }) => name);
        expect(names.filter((name) => !name.includes(".cfsboot-tmp")).sort()).toEqual(
          ids.map((id) => PREFIX + id).sort(),
        );
        host.linux.close(kernels);
      });
    }
  }
  expect(failure.seen).toBeGreaterThan(40);
});

test("a deployment whose origin says no manifest keeps its image, with its layers, by the manifest that has it", async () => {
  const { machine, ids } = await installed(...KERNELS.slice(0, 2));
  using _ = machine;
  const origin = (id: string) => machine.state(id, `${id}.origin`);
  const text = readFileSync(origin(ids[0]!), "utf8");
  writeFileSync(origin(ids[0]!), text.replace(/\[image\]\n[^[]*/, ""));
  rmSync(origin(ids[1]!));
  const streams = () => machine.names("sysroot/composefs/streams").sort();
  const tags = () =>
    machine.with((_host, repository) =>
      listTags(repository).flatMap(({ tag }) => (tag.startsWith("localhost/bootc-") ? tag : [])),
    );
  const before = { streams: streams(), tags: tags() };
  expect(before.tags).toHaveLength(2);
  machine.with((host, repository) => collect(host, repository));
  expect({ streams: streams(), tags: tags() }).toEqual(before);
});
