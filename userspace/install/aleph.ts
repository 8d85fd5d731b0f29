/** The note about how a machine began, as bootc leaves it on the physical root. */
import { existsSync } from "node:fs";
import { release } from "node:os";
import type { OriginImage } from "../../src/formats/origin.ts";
import { replaceFile } from "../../src/linux/directories.ts";
import type { Host } from "../deployment/host.ts";

export const ALEPH = ".bootc-aleph.json";
const MODE = 0o644;
/** There where the system that installs has it. */
const SELINUX = "/sys/fs/selinux/enforce";
const CREATED = "org.opencontainers.image.created";
const VERSION = "org.opencontainers.image.version";

export interface Beginning {
  readonly source: OriginImage;
  readonly follow: OriginImage;
  /** Of the manifest. */
  readonly digest: string;
  /** Of the image's configuration. */
  readonly labels: ReadonlyMap<string, string>;
  /** Whether the image has a policy for SELinux. */
  readonly selinux: boolean;
}

export function writeAleph({ linux, sysroot }: Host, beginning: Beginning): void {
  const { source, follow, digest, labels, selinux } = beginning;
  const created = labels.get(CREATED);
  const text = JSON.stringify({
    digest,
    ...(source.name.startsWith("/tmp") ? {} : { image: source.name }), // which is gone soon
    kernel: release(),
    ...(labels.size > 0 && { labels: Object.fromEntries([...labels].sort()) }),
    selinux: selinux ? (existsSync(SELINUX) ? "enabled" : "host-disabled") : "disabled",
    "target-image": follow.name,
    timestamp: created !== undefined && !Number.isNaN(Date.parse(created)) ? created : null,
    version: labels.get(VERSION) ?? null,
  });
  replaceFile(linux, sysroot, ALEPH, Buffer.from(text), MODE);
}
