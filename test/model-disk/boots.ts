/** Whether what is on a machine's disks boots, seen with the eyes of a boot loader and of the initramfs. */
import { type BlsEntry, parseBlsEntry } from "../../src/formats/bls-entry.ts";
import { fromBytes, fromText, toText } from "../../src/formats/bytestring.ts";
import { parseComposefsArguments } from "../../src/formats/cmdline.ts";
import { readErofs } from "../../src/formats/erofs/index.ts";
import { grubScript } from "../../src/formats/grub-script.ts";
import { grubEnvValue, parseGrubEnv } from "../../src/formats/grubenv.ts";
import { parseOrigin } from "../../src/formats/origin.ts";
import type { Node } from "../../src/formats/tree.ts";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY, S_IFDIR, S_IFMT } from "../../src/linux/constants.ts";
import { readFile } from "../../src/linux/files.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { compareGrub, compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import { findKernels, type RegularContent } from "../../src/model/boot-resources.ts";
import { contentChunks } from "../../userspace/deployment/image-content.ts";
import type { Repository } from "../../userspace/repository/repository.ts";
import type { ModelMachine } from "./machine.ts";

const LIMIT = 1 << 30;

/** What an entry of the menu boots, and what is needed for it, as it is. */
export interface Bootable {
  readonly id: string;
  readonly fileName: string;
  readonly options: string;
  /** Everything in its /etc but times. */
  readonly etc: string;
}

/** What the boot menu of a place offers, in its order, all of it whole. Throws an error that says what would not boot. */
export function bootables(machine: ModelMachine, place = machine.from): Bootable[] {
  using repository = machine.repository();
  return bootMenu(machine, place).map(({ fileName, entry }) => {
    try {
      if (entry.problem !== undefined) throw new Error(entry.problem);
      const options = entry.options ?? "";
      const [argument] = parseComposefsArguments(options);
      if (argument === undefined) throw new Error("there is no composefs= in it");
      const { digest: id } = argument;
      const { root } = machine.layout.places[place]!;
      requireKernel(machine, root, repository, id, entry.kernel?.path ?? "", entry.initrds);
      requireState(machine, id);
      return { id, fileName, options, etc: etcOf(machine, id) };
    } catch (error) {
      throw new Error(`${fileName} would not boot`, { cause: error });
    }
  });
}

interface MenuItem {
  readonly fileName: string;
  readonly entry: BlsEntry;
}

/** The entries of a place, first the one that would be booted now. */
export function bootMenu({ linux, layout }: ModelMachine, place: number): MenuItem[] {
  const { path } = layout.places[place]!;
  let fd: number;
  try {
    fd = linux.openat(AT_FDCWD, `${path}/loader/entries`, O_RDONLY | O_DIRECTORY);
  } catch {
    return []; // a disk on which nothing was installed
  }
  try {
    const grub = layout.loader === "grub";
    const compare = grub ? compareGrub : compareSystemdBoot;
    const items = linux
      .readdir(fd)
      .map(({ name }) => toText(name) ?? "")
      .filter((name) => name.endsWith(".conf"))
      .map((fileName) => ({ fileName, entry: parseBlsEntry(readFile(linux, fd, fileName, LIMIT)) }))
      .sort((a, b) =>
        compare({ ...a.entry, fileName: a.fileName }, { ...b.entry, fileName: b.fileName }),
      );
    return grub ? chosenByGrub(linux, path, items) : items;
  } finally {
    linux.close(fd);
  }
}

/** What GRUB makes of its script and of its variables. */
function chosenByGrub(linux: Linux, path: string, items: readonly MenuItem[]): MenuItem[] {
  const text = (name: string) => Buffer.from(readFile(linux, AT_FDCWD, name, LIMIT)).toString();
  if (items.length === 0) return [];
  const entries = items.map(({ fileName, entry }) => ({
    id: fileName.replace(/\.conf$/, ""),
    bls: entry,
  }));
  const [argument] = parseComposefsArguments(items[0]!.entry.options ?? "");
  if (text(`${path}/loader/entries/cfsboot.cfg`) !== grubScript(entries, argument?.digest)) {
    throw new Error("the script is not that of the entries");
  }
  let env: Uint8Array;
  try {
    env = readFile(linux, AT_FDCWD, `${path}/grub/grubenv`, LIMIT);
  } catch {
    return [...items];
  }
  if (env.length !== 1024) throw new Error(`grubenv has ${env.length} bytes, expected 1024`);
  const variables = parseGrubEnv(env, "grubenv");
  const value = (name: string) => grubEnvValue(variables, name);
  const counts = value("boot_success") === "0" && value("cfsboot_counted") === argument?.digest;
  // GRUB takes one off, and gives up below 0
  if (!counts || !["0", "-1"].includes(value("boot_counter") ?? "")) return [...items];
  const [first, second, ...rest] = items;
  return second === undefined ? [first!] : [second, first!, ...rest];
}

/** The boot partition has the image's kernel and initramfs, byte for byte. */
function requireKernel(
  machine: ModelMachine,
  root: string,
  repository: Repository,
  id: string,
  kernelPath: string,
  initrds: readonly string[],
): void {
  const kernel = kernelOf(machine, repository, id);
  const same = (path: string, expected: string) => {
    if (fromBytes(readFile(machine.linux, AT_FDCWD, `${root}${path}`, LIMIT)) !== expected) {
      throw new Error(`${path} is not the image's`);
    }
  };
  same(kernelPath, kernel.vmlinuz);
  if (initrds.length !== 1) throw new Error(`${initrds.length} initrds, expected one`);
  same(initrds[0]!, kernel.initramfs);
}

interface KernelTexts {
  readonly vmlinuz: string;
  readonly initramfs: string;
}

/** What was found whole, by what is on the root and by image. */
const known = new Map<string, KernelTexts>();

/** What an image boots; all of the image is whole in the repository. */
function kernelOf({ linux, disk }: ModelMachine, repository: Repository, id: string): KernelTexts {
  const key = `${disk.fingerprintOf("sysroot")} ${id}`;
  let texts = known.get(key);
  if (texts === undefined) {
    const { digest, fd } = repository.openImage(id);
    linux.close(fd);
    const tree = readErofs(repository.readObject(digest, LIMIT));
    requireContent(repository, tree);
    const [kernel] = findKernels(tree);
    const text = (content: RegularContent | undefined) =>
      content === undefined ? "" : textOf(repository, content);
    texts = { vmlinuz: text(kernel?.vmlinuz), initramfs: text(kernel?.initramfs) };
    known.set(key, texts);
  }
  return texts;
}

function requireContent(repository: Repository, node: Node): void {
  if (node.type === "directory") {
    for (const child of node.entries.values()) requireContent(repository, child);
  } else if (node.content.type === "external") {
    textOf(repository, node.content); // which checks the digest
  }
}

function textOf(repository: Repository, content: RegularContent): string {
  let text = "";
  for (const chunk of contentChunks(repository, content)) text += fromBytes(chunk);
  return text;
}

function requireState({ linux }: ModelMachine, id: string): void {
  const state = `/sysroot/state/deploy/${id}`;
  const origin = readFile(linux, AT_FDCWD, `${state}/${id}.origin`, LIMIT);
  const { problems } = parseOrigin(toText(fromBytes(origin)) ?? "");
  if (problems.length > 0) throw new Error(`its origin: ${problems.join(", ")}`);
  for (const name of ["etc", "var"]) {
    const { mode } = linux.statx(AT_FDCWD, `${state}/${name}`, 0);
    if ((mode & S_IFMT) !== S_IFDIR) throw new Error(`${name} is not a directory`);
  }
}

function etcOf({ disk }: ModelMachine, id: string): string {
  let at = disk.fileSystems.get("sysroot")!.root;
  for (const name of ["state", "deploy", id, "etc"]) {
    at = disk.inode(at).entries.get(fromText(name))!;
  }
  return disk.listing(at).join("\n");
}
