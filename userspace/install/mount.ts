/** Mounts a deployment of a disk that is not the one that runs, as its initramfs would. */
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import {
  DEFAULT_CONF,
  parseSetupRootConf,
  type SetupRootConf,
} from "../../src/formats/setup-root-conf.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_RDONLY,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from "../../src/linux/constants.ts";
import { setupRoot } from "../../src/linux/setup-root.ts";
import { findFile } from "../../src/model/boot-resources.ts";
import type { Deployment } from "../../src/model/deployments.ts";
import type { Host } from "../deployment/host.ts";
import { readContent } from "../deployment/image-content.ts";
import { readImageTree } from "../deployment/image-facts.ts";
import type { Repository } from "../repository/repository.ts";

const CONF = "usr/lib/composefs/setup-root-conf.toml";
const MAX_CONF = 1 << 20;

/**
 * Mounts it on `target`: the image, its `/etc` and `/var` as the image configures them, and the physical root on `/sysroot`.
 * `readOnly`: all of it is.
 */
export function mountDeployment(
  { linux, sysrootPath }: Host,
  repository: Repository,
  { id, entry }: Deployment,
  target: string,
  readOnly: boolean,
): void {
  const conf = confOf(repository, id);
  const cmdline = entry.bls.options ?? "";
  setupRoot(linux, { sysroot: sysrootPath, cmdline, conf, target, report: () => {} });
  if (!readOnly) return;
  const fd = linux.openat(AT_FDCWD, target, O_PATH | O_DIRECTORY | O_CLOEXEC);
  try {
    linux.mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, { set: MOUNT_ATTR_RDONLY });
  } finally {
    linux.close(fd);
  }
}

function confOf(repository: Repository, id: string): SetupRootConf {
  const content = findFile(readImageTree(repository, id), CONF.split("/"));
  if (content === undefined) return DEFAULT_CONF;
  const text = toText(fromBytes(readContent(repository, content, MAX_CONF)));
  if (text === undefined) throw new Error(`/${CONF}: expected UTF-8`);
  return parseSetupRootConf(text, `/${CONF}`).conf;
}
