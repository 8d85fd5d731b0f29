/** What an installation adds to a deployment's `/etc`. Trees are not changed, but made anew. */
import { ascii, type ByteString } from "../../src/formats/bytestring.ts";
import type { FileType } from "../../src/formats/file-contexts.ts";
import type { EtcDirectory, EtcEntry, EtcStat, FileContent } from "../../src/model/etc/tree.ts";
import type { Labels } from "../../src/model/selinux/labels.ts";

const SELINUX = ascii("security.selinux");
const DIRECTORY_MODE = 0o755;
/** As systemd understands it (machine-id(5)): a new one is made, and this is the first boot. */
const UNINITIALIZED = "uninitialized\n";

/**
 * The tree in which a machine gets an ID of its own when it boots: an image that brings one along would give it to all its
 * machines. `firstBoot`: also where the image has an empty one, or none, and so that systemd counts it as a first boot.
 */
export function withoutMachineId(
  etc: EtcDirectory,
  firstBoot: boolean,
  labels: Labels | undefined,
): EtcDirectory {
  const entry = etc.entries.get(ascii("machine-id"));
  const data =
    entry?.type === "leaf" && entry.content.type === "file" ? entry.content.data : undefined;
  const text = data === undefined ? "" : Buffer.from(data.read()).toString("latin1");
  if (!firstBoot && !/^[0-9a-f]{32}\s*$/.test(text)) return etc;
  const content = Buffer.from(firstBoot ? UNINITIALIZED : "");
  return withFile(etc, "/etc", ["machine-id"], { data: content, mode: 0o444, labels });
}

/**
 * The tree with systemd-tmpfiles told to give root these SSH keys, where root's home has no such file yet. `home`: its path,
 * not that of a link to it.
 */
export function withRootKeys(
  etc: EtcDirectory,
  home: string,
  authorizedKeys: Uint8Array,
  labels: Labels | undefined,
): EtcDirectory {
  const encoded = Buffer.from(authorizedKeys).toString("base64");
  const lines = [
    `d ${home}/.ssh 0700 root root -`,
    `f~ ${home}/.ssh/authorized_keys 0600 root root - ${encoded}`,
  ];
  const data = Buffer.from(lines.map((line) => `${line}\n`).join(""));
  const path = ["tmpfiles.d", "cfsboot-root-ssh.conf"];
  return withFile(etc, "/etc", path, { data, mode: 0o600, labels });
}

interface NewFile {
  readonly data: Uint8Array;
  readonly mode: number;
  /** The image's policy. */
  readonly labels: Labels | undefined;
}

/** The tree with a file. Directories that are missing are made. `at`: its own absolute path. */
function withFile(
  directory: EtcDirectory,
  at: string,
  [name, ...rest]: readonly string[],
  file: NewFile,
): EtcDirectory {
  if (name === undefined) throw new Error("expected a path");
  const key = ascii(name);
  const path = `${at}/${name}`;
  const old = directory.entries.get(key);
  const stat = (mode: number, type: FileType): EtcStat => ({
    ...{ mode, uid: 0, gid: 0, xattrs: labelsOf(file, path, type) },
    ...{ mtimeSec: directory.stat.mtimeSec, mtimeNsec: directory.stat.mtimeNsec },
  });
  const leaf = (): EtcEntry => ({
    type: "leaf",
    stat: stat(file.mode, "-"),
    content: { type: "file", data: contentOf(file.data) },
  });
  const empty = (): EtcDirectory => ({
    type: "directory",
    stat: stat(DIRECTORY_MODE, "d"),
    entries: new Map(),
  });
  const entry =
    rest.length === 0
      ? leaf()
      : withFile(old?.type === "directory" ? old : empty(), path, rest, file);
  return { ...directory, entries: new Map([...directory.entries, [key, entry]]) };
}

function labelsOf(
  { labels }: NewFile,
  path: string,
  type: FileType,
): ReadonlyMap<ByteString, Uint8Array> {
  const label = labels?.label(labels.at(ascii(path)), type);
  return new Map(label === undefined ? [] : [[SELINUX, label]]);
}

function contentOf(data: Uint8Array): FileContent {
  return { size: data.length, digest: () => undefined, read: () => data };
}
