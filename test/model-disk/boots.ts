/** Whether what is on a machine's disks boots, seen with the eyes of a boot loader and of the initramfs. */
import { parseBlsEntry } from "../../src/formats/bls-entry.ts";
import { fromBytes, fromText, toText } from "../../src/formats/bytestring.ts";
import { parseComposefsArguments } from "../../src/formats/cmdline.ts";
import { readErofs } from "../../src/formats/erofs/index.ts";
import { parseOrigin } from "../../src/formats/origin.ts";
import type { Node } from "../../src/formats/tree.ts";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY, S_IFDIR, S_IFMT } from "../../src/linux/constants.ts";
import { readFile } from "../../src/linux/files.ts";
import { compareSystemdBoot } from "../../src/model/boot-menu-order.ts";
import { findKernels, type RegularContent } from "../../src/model/boot-resources.ts";
import { contentChunks } from "../../userspace/deployment/image-content.ts";
import type { Repository } from "../../userspace/repository/repository.ts";
import type { ModelMachine } from "./machine.ts";

const LIMIT = 1 << 30;
const ENTRIES = "/esp/loader/entries";

/** What an entry of the menu boots, and what is needed for it, as it is. */
export interface Bootable {
  readonly id: string;
  readonly fileName: string;
  readonly options: string;
  /** Everything in its /etc but times. */
  readonly etc: string;
}

/** What the boot menu offers, in its order, all of it whole. Throws an error that says what would not boot. */
export function bootables(machine: ModelMachine): Bootable[] {
  using repository = machine.repository();
  const found = menu(machine).map(({ fileName, entry }) => {
    try {
      if (entry.problem !== undefined) throw new Error(entry.problem);
      const options = entry.options ?? "";
      const [argument] = parseComposefsArguments(options);
      if (argument === undefined) throw new Error("there is no composefs= in it");
      const { digest: id } = argument;
      requireKernel(machine, repository, id, entry.kernel?.path ?? "", entry.initrds);
      requireState(machine, id);
      return { id, fileName, options, etc: etcOf(machine, id) };
    } catch (error) {
      throw new Error(`${fileName} would not boot`, { cause: error });
    }
  });
  return found;
}

function menu({ linux }: ModelMachine) {
  let fd: number;
  try {
    fd = linux.openat(AT_FDCWD, ENTRIES, O_RDONLY | O_DIRECTORY);
  } catch {
    return []; // a disk on which nothing was installed
  }
  try {
    return linux
      .readdir(fd)
      .map(({ name }) => toText(name) ?? "")
      .filter((name) => name.endsWith(".conf"))
      .map((fileName) => ({ fileName, entry: parseBlsEntry(readFile(linux, fd, fileName, LIMIT)) }))
      .sort((a, b) =>
        compareSystemdBoot(
          { ...a.entry, fileName: a.fileName },
          { ...b.entry, fileName: b.fileName },
        ),
      );
  } finally {
    linux.close(fd);
  }
}

/** The image is whole in the repository, and the boot partition has its kernel and initramfs, byte for byte. */
function requireKernel(
  { linux }: ModelMachine,
  repository: Repository,
  id: string,
  kernelPath: string,
  initrds: readonly string[],
): void {
  const { digest, fd } = repository.openImage(id);
  linux.close(fd);
  const tree = readErofs(repository.readObject(digest, LIMIT));
  requireContent(repository, tree);
  const [kernel] = findKernels(tree);
  const same = (path: string, content: RegularContent | undefined) => {
    const expected = content === undefined ? "" : textOf(repository, content);
    if (fromBytes(readFile(linux, AT_FDCWD, `/esp${path}`, LIMIT)) !== expected) {
      throw new Error(`${path} is not the image's`);
    }
  };
  same(kernelPath, kernel?.vmlinuz);
  if (initrds.length !== 1) throw new Error(`${initrds.length} initrds, expected one`);
  same(initrds[0]!, kernel?.initramfs);
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
