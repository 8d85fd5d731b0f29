/** The `/var` of a new machine. */
import { ascii, toBytes } from "../../src/formats/bytestring.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { makeDirectories, TEMPORARY, withDirectory } from "../../src/linux/directories.ts";
import type { Fd } from "../../src/linux/linux.ts";
import { seeThrough } from "../../src/model/etc/see-through.ts";
import type { EtcDirectory } from "../../src/model/etc/tree.ts";
import { buildEtc } from "../deployment/etc/build.ts";
import { removeEtc } from "../deployment/etc/remove.ts";
import { type Host, SHARED_VAR } from "../deployment/host.ts";
import { imageDirectory } from "../deployment/image-etc.ts";
import type { Repository } from "../repository/repository.ts";

/** What mkfs leaves in a file system that is empty. */
const LOST_AND_FOUND = "lost+found";

/** The shared `/var` begins as the image's; one that is there stays as it is. */
export function fillVar({ linux, sysroot }: Host, repository: Repository, tree: Tree): void {
  const content = varOf(repository, tree);
  if (content === undefined) return;
  const at = SHARED_VAR.lastIndexOf("/");
  const [parent, name] = [SHARED_VAR.slice(0, at), SHARED_VAR.slice(at + 1)];
  makeDirectories(linux, sysroot, parent, 0o755);
  withDirectory(linux, sysroot, parent, (fd) => {
    if (linux.readdir(fd).some((entry) => entry.name === name)) return;
    const temporary = `${name}${TEMPORARY}`;
    removeEtc(linux, fd, temporary); // of an installation that was interrupted
    buildEtc(linux, fd, temporary, content);
    linux.syncfs(fd);
    linux.renameat2(fd, temporary, fd, name, 0);
    linux.fsync(fd);
  });
}

/** The same where `/var` is a file system of its own; it must be empty, or stays as it is. */
export function fillMountedVar(
  { linux }: Host,
  repository: Repository,
  tree: Tree,
  mounted: Fd,
): void {
  const temporary = TEMPORARY;
  const others = linux
    .readdir(mounted)
    .filter(({ name }) => name !== LOST_AND_FOUND && name !== temporary);
  const content = varOf(repository, tree);
  if (content === undefined || others.length > 0) return;
  removeEtc(linux, mounted, temporary); // of an installation that was interrupted
  buildEtc(linux, mounted, temporary, content);
  linux.syncfs(mounted);
  withDirectory(linux, mounted, temporary, (from) => {
    for (const { name } of linux.readdir(from)) {
      if (name === LOST_AND_FOUND) continue;
      linux.renameat2(from, toBytes(name), mounted, toBytes(name), 0);
    }
  });
  removeEtc(linux, mounted, temporary);
  linux.fchmod(mounted, content.stat.mode);
  for (const [name, value] of content.stat.xattrs) {
    linux.lsetxattr(`/proc/self/fd/${mounted}/.`, toBytes(name), value, 0);
  }
  linux.fsync(mounted);
}

function varOf(repository: Repository, tree: Tree): EtcDirectory | undefined {
  const directory = tree.entries.get(ascii("var"));
  if (directory?.type !== "directory") return undefined;
  return seeThrough(imageDirectory(repository, directory)).tree;
}
