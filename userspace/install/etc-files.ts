/** What an installation adds to a deployment's `/etc`. Trees are not changed, but made anew. */
import { ascii, type ByteString } from "../../src/formats/bytestring.ts";
import type { EtcDirectory, EtcEntry, EtcStat, FileContent } from "../../src/model/etc/tree.ts";

const SELINUX = ascii("security.selinux");
const DIRECTORY_MODE = 0o755;
/** As systemd understands it: a new one is made at the first boot. */
const UNINITIALIZED = "uninitialized\n";

/**
 * The tree in which a machine gets an ID of its own at its first boot: an image that brings one along would give it to all
 * its machines. `always`: also where the image has an empty one, or none, so that the first boot counts as one.
 */
export function withoutMachineId(etc: EtcDirectory, always: boolean): EtcDirectory {
  const entry = etc.entries.get(ascii("machine-id"));
  const data =
    entry?.type === "leaf" && entry.content.type === "file" ? entry.content.data : undefined;
  const text = data === undefined ? "" : Buffer.from(data.read()).toString("latin1");
  if (!always && !/^[0-9a-f]{32}\s*$/.test(text)) return etc;
  return withFile(etc, ["machine-id"], Buffer.from(UNINITIALIZED), 0o444);
}

/** The tree with systemd-tmpfiles told to give root these SSH keys, where root's home has no such file yet. */
export function withRootKeys(etc: EtcDirectory, authorizedKeys: Uint8Array): EtcDirectory {
  const encoded = Buffer.from(authorizedKeys).toString("base64");
  const lines = [
    "d /root/.ssh 0700 root root -",
    `f~ /root/.ssh/authorized_keys 0600 root root - ${encoded}`,
  ];
  const text = lines.map((line) => `${line}\n`).join("");
  return withFile(etc, ["tmpfiles.d", "cfsboot-root-ssh.conf"], Buffer.from(text), 0o600);
}

/** The tree with a file; one that is there keeps its label. Directories that are missing are made. */
export function withFile(
  directory: EtcDirectory,
  [name, ...rest]: readonly string[],
  data: Uint8Array,
  mode: number,
): EtcDirectory {
  if (name === undefined) throw new Error("expected a path");
  const key = ascii(name);
  const old = directory.entries.get(key);
  const xattrs = labelOf(old?.stat ?? directory.stat);
  const stat = (bits: number): EtcStat => ({
    ...{ mode: bits, uid: 0, gid: 0, xattrs },
    ...{ mtimeSec: directory.stat.mtimeSec, mtimeNsec: directory.stat.mtimeNsec },
  });
  const leaf: EtcEntry = {
    type: "leaf",
    stat: stat(mode),
    content: { type: "file", data: contentOf(data) },
  };
  const empty: EtcDirectory = { type: "directory", stat: stat(DIRECTORY_MODE), entries: new Map() };
  const entry =
    rest.length === 0 ? leaf : withFile(old?.type === "directory" ? old : empty, rest, data, mode);
  return { ...directory, entries: new Map([...directory.entries, [key, entry]]) };
}

/** New files have the label of what they replace, or of the directory that they are in. */
function labelOf({ xattrs }: EtcStat): ReadonlyMap<ByteString, Uint8Array> {
  const label = xattrs.get(SELINUX);
  return new Map(label === undefined ? [] : [[SELINUX, label]]);
}

function contentOf(data: Uint8Array): FileContent {
  return { size: data.length, digest: () => undefined, read: () => data };
}
