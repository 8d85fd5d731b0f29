/**
 * SELinux labels of what an installation makes on the physical root, by the policy of the image. `/etc` of the deployment and
 * `/var` come with the image's own. The repository is labelled as if it were `/usr`, as bootc does it: the policies know no
 * such directory, and whoever may read the system must be able to read it.
 */
import {
  ascii,
  type ByteString,
  display,
  fromBytes,
  toBytes,
} from "../../src/formats/bytestring.ts";
import type { FileType } from "../../src/formats/file-contexts.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { DT_DIR, DT_LNK, DT_REG } from "../../src/linux/constants.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { type Fd, isErrno, type Linux } from "../../src/linux/linux.ts";
import type { Labels, Place } from "../../src/model/selinux/labels.ts";
import { readPolicy } from "../../src/model/selinux/policy.ts";
import { readContent } from "../deployment/image-content.ts";
import type { Repository } from "../repository/repository.ts";

const XATTR = ascii("security.selinux");
const MAX_FILE = 16 << 20;
const HERE = ascii(".");
/** What an installation makes in the root, and the path whose labels it gets. */
const OWN: ReadonlyMap<string, string> = new Map([
  ["composefs", "/usr"],
  ["state", "/state"],
]);
/** What it makes something in. There only files without a label get one. */
const SHARED: ReadonlySet<string> = new Set(["boot", "lost+found"]);
/** What is in there has the image's labels. */
const OF_THE_IMAGE = /^\/state\/(deploy\/[^/]+\/etc|os\/[^/]+\/var)$/;
/** So a kernel with SELinux answers for files that have no label. */
const UNLABELLED = ":unlabeled_t:";
const TYPES: ReadonlyMap<number, FileType> = new Map([
  [DT_DIR, "d"],
  [DT_LNK, "l"],
  [DT_REG, "-"],
]);

/** The policy of an image's tree; `undefined` if it has none. */
export function policyOf(repository: Repository, tree: Tree): Labels | undefined {
  return readPolicy(tree, (content, path) => {
    if (content.type !== "inline" && content.type !== "external") {
      throw new Error(`${path}: expected a file with content`);
    }
    return readContent(repository, content, MAX_FILE);
  });
}

/** Labels the repository and the state, whatever label the kernel has given them. */
export function labelOwn(linux: Linux, sysroot: Fd, labels: Labels): void {
  const labeller = new Labeller(linux, labels, true);
  for (const { name, type } of linux.readdir(sysroot)) {
    const as = OWN.get(name);
    if (as !== undefined) labeller.tree(sysroot, name, labels.at(ascii(as)), type);
  }
}

/** Labels the root itself, and what is below `/boot`, where they have no label yet and can have one: FAT has none. */
export function labelShared(linux: Linux, sysroot: Fd, labels: Labels): void {
  const labeller = new Labeller(linux, labels, false);
  labeller.entry(sysroot, HERE, labels.root(), "d");
  for (const { name, type } of linux.readdir(sysroot)) {
    if (SHARED.has(name)) labeller.tree(sysroot, name, labels.entry(labels.root(), name), type);
  }
}

class Labeller {
  readonly #linux: Linux;
  readonly #labels: Labels;
  readonly #force: boolean;

  /** `force`: also what has a label. */
  constructor(linux: Linux, labels: Labels, force: boolean) {
    this.#linux = linux;
    this.#labels = labels;
    this.#force = force;
  }

  /** A file or directory, `type` a `DT_*`, with all that is in it. */
  tree(parent: Fd, name: ByteString, place: Place, type: number): void {
    const letter = TYPES.get(type);
    if (letter === undefined || OF_THE_IMAGE.test(place.path)) return;
    if (!this.entry(parent, name, place, letter) || type !== DT_DIR) return;
    withDirectory(this.#linux, parent, toBytes(name), (directory) => {
      for (const inner of this.#linux.readdir(directory)) {
        this.tree(directory, inner.name, this.#labels.entry(place, inner.name), inner.type);
      }
    });
  }

  /** False if there can be no labels here. */
  entry(parent: Fd, name: ByteString, place: Place, type: FileType): boolean {
    const label = this.#labels.label(place, type);
    const path = toBytes(`/proc/self/fd/${parent}/${name}` as ByteString);
    try {
      if (!this.#force && this.#isLabelled(path)) return true;
      if (label !== undefined) this.#linux.lsetxattr(path, toBytes(XATTR), label, 0);
      return true;
    } catch (error) {
      if (isErrno(error, "EOPNOTSUPP")) return false;
      throw new Error(`SELinux label of ${display(place.path)}`, { cause: error });
    }
  }

  #isLabelled(path: Uint8Array): boolean {
    try {
      return !fromBytes(this.#linux.lgetxattr(path, toBytes(XATTR))).includes(UNLABELLED);
    } catch (error) {
      if (isErrno(error, "ENODATA")) return false;
      throw error;
    }
  }
}
