/** The containers-storage that bootc keeps at `composefs/bootc/storage` of the physical root. cfsboot puts nothing there. */
import { spawnSync } from "node:child_process";
import { posix, resolve } from "node:path";
import { display, fromBytes, toText } from "../../src/formats/bytestring.ts";
import { iniValue, parseIni } from "../../src/formats/ini.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { ifThere, openDirectory } from "../../src/linux/directories.ts";
import { findFile, lookUp } from "../../src/model/boot-resources.ts";
import type { Machine } from "../../src/model/deployments.ts";
import { planStoragePrune, type StoredContainer } from "../../src/model/storage-prune.ts";
import { Store } from "../oci/containers-storage/store.ts";
import type { Repository } from "../repository/repository.ts";
import type { Host } from "./host.ts";
import { readContent } from "./image-content.ts";
import { readImageTree } from "./image-facts.ts";

const STORAGE = "composefs/bootc/storage";
/** Links to the quadlets of the images that an image is bound to. */
const BOUND = ["usr", "lib", "bootc", "bound-images.d"];
const MAX_QUADLET = 1 << 20;

/** Decides which images go: those that no deployment is of, or is bound to. Writes nothing. */
export function planStorage(
  host: Host,
  repository: Repository,
  machine: Machine,
): readonly StoredContainer[] {
  const images = listImages(host);
  const followed = machine.deployments.flatMap(({ state }) => state?.origin?.image?.name ?? []);
  if (planStoragePrune(images, followed).length === 0) return [];
  const bound = machine.deployments.flatMap(({ id }) =>
    boundImages(repository, readImageTree(repository, id)),
  );
  return planStoragePrune(images, [...followed, ...bound]);
}

function listImages({ linux, sysroot }: Host): readonly StoredContainer[] {
  const directory = ifThere(() => openDirectory(linux, sysroot, STORAGE));
  if (directory === undefined) return [];
  try {
    const store = Store.open(linux, `/proc/self/fd/${directory}`);
    try {
      return store?.images() ?? [];
    } finally {
      store?.close();
    }
  } catch (error) {
    throw new Error(STORAGE, { cause: error });
  } finally {
    linux.close(directory);
  }
}

/** The names of the images that an image is bound to. */
function boundImages(repository: Repository, tree: Tree): string[] {
  const directory = lookUp(tree, BOUND);
  if (directory?.type !== "directory") return [];
  return [...directory.entries].flatMap(([name, node]): string[] => {
    if (node.type !== "leaf" || node.content.type !== "symlink") return [];
    const target = toText(node.content.target);
    if (target === undefined) return [];
    const path = posix.resolve("/", ...BOUND, target);
    const content = findFile(tree, path.slice(1).split("/"));
    if (content === undefined) return [];
    const text = toText(fromBytes(readContent(repository, content, MAX_QUADLET)));
    if (text === undefined) throw new Error(`${display(name)}: expected UTF-8`);
    const section = path.endsWith(".image") ? "Image" : "Container";
    const image = iniValue(parseIni(text), section, "Image");
    return image === undefined ? [] : [image];
  });
}

/**
 * podman has to see the store where bootc shows it to podman, because its database has noted that path; and the physical
 * root has to be writable: in a mount namespace of its own, which goes with it.
 */
const PODMAN = `
mkdir -p /run/bootc/storage
exec 3</run/bootc/storage
mount -o remount,bind,rw "$1" 2>/dev/null
mount --bind "$1/${STORAGE}" /run/bootc/storage || exit
shift
exec podman --root /run/bootc/storage --runroot /proc/self/fd/3 image rm "$@"
`;

/**
 * Removes images, each by itself; one that a container runs from stays. `warn` is told of what could not be removed. Returns
 * the others.
 */
export function pruneStorage(
  { sysrootPath }: Host,
  images: readonly StoredContainer[],
  warn: (error: unknown) => void,
): readonly StoredContainer[] {
  return images.filter(({ id, names }) => {
    // by its id alone, podman refuses one that has several names
    const which = names.length === 0 ? [id] : names;
    const shell = ["sh", "-c", PODMAN, "sh", resolve(sysrootPath), ...which];
    const { error, status, stderr } = spawnSync(
      "unshare",
      ["--mount", "--propagation", "private", ...shell],
      { encoding: "utf8" },
    );
    if (error === undefined && status === 0) return true;
    const cause = error ?? new Error(stderr.trim() || `exit status ${status}`);
    warn(new Error(`remove ${names[0] ?? id} from bootc's containers-storage`, { cause }));
    return false;
  });
}
