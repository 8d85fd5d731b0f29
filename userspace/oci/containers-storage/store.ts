/**
 * A store of containers' storage (containers/storage) with the overlay driver, for reading:
 *
 *   overlay-images/images.json               the images: their names, digests, and files
 *   overlay-images/ID/FILE                   manifests and config of an image, byte for byte
 *   overlay-layers/layers.json               the layers; volatile-layers.json is about more of them
 *   overlay-layers/ID.tar-split.gz           what remains of the layer's archive without its files' contents
 *   overlay/ID/diff/                         the layer's files
 *   overlay-images/images.lock, overlay-layers/layers.lock
 *
 * Somebody else's, perhaps a user's: no link in it is followed, and nothing leads out of it.
 */
import { type JsonObject, parseJsonList } from "../../../src/formats/json-document.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  F_RDLCK,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFMT,
  S_IFREG,
} from "../../../src/linux/constants.ts";
import { readAll } from "../../../src/linux/files.ts";
import { type Fd, isErrno, type Linux } from "../../../src/linux/linux.ts";

/** Largest list of images or layers, in bytes: for some ten thousand of them. */
const MAX_LIST = 64 << 20;
/** What names a directory or a file: never a path. */
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/;

export interface StoredImageRecord {
  readonly id: string;
  /** In full: `docker.io/library/debian:latest`, or with a digest. */
  readonly names: readonly string[];
  /** Digests of its files, by their keys: `manifest`, `manifest-sha256:…`, `sha256:…`. */
  readonly digests: ReadonlyMap<string, string>;
}

export interface StoredLayerRecord {
  readonly id: string;
  /** Digest of its archive; layers that were never one have none. */
  readonly diffId: string | undefined;
  /** Its files belong to other users than its archive says. */
  readonly mapped: boolean;
}

export class Store {
  readonly path: string;
  readonly #linux: Linux;
  readonly #root: Fd;
  readonly #locks: Fd[] = [];

  private constructor(linux: Linux, path: string, root: Fd) {
    this.#linux = linux;
    this.path = path;
    this.#root = root;
  }

  /** Opens the store at `path`; `undefined` if there is no store of this driver. */
  static open(linux: Linux, path: string): Store | undefined {
    let root: Fd;
    try {
      root = linux.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } catch (error) {
      if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
    const store = new Store(linux, path, root);
    if (store.#exists("overlay-images") && store.#exists("overlay-layers")) return store;
    store.close();
    return undefined;
  }

  close(): void {
    for (const lock of this.#locks.splice(0)) this.#linux.close(lock);
    this.#linux.close(this.#root);
  }

  /**
   * Keeps others from changing images and layers until `close`. Says whether that was possible: it is not while somebody
   * changes them. A store that nobody has locked yet, on a read-only disk say, is one that nobody changes.
   */
  tryLock(): boolean {
    const locks: Fd[] = [];
    try {
      // in the order in which others take them
      for (const name of ["overlay-layers/layers.lock", "overlay-images/images.lock"]) {
        const fd = this.#open(name);
        if (fd === undefined) continue;
        locks.push(fd);
        this.#linux.fcntlLock(fd, F_RDLCK);
      }
      this.#locks.push(...locks.splice(0));
      return true;
    } catch (error) {
      if (isErrno(error, "EAGAIN", "EACCES")) return false;
      throw error;
    } finally {
      for (const fd of locks) this.#linux.close(fd);
    }
  }

  images(): StoredImageRecord[] {
    return this.#list("overlay-images/images.json").map((image) => ({
      id: idOf(image),
      names: image.has("names") ? image.strings("names") : [],
      digests: image.stringMap("big-data-digests"),
    }));
  }

  layers(): StoredLayerRecord[] {
    const lists = ["overlay-layers/layers.json", "overlay-layers/volatile-layers.json"];
    return lists
      .flatMap((list) => this.#list(list))
      .map((layer) => ({
        id: idOf(layer),
        diffId: layer.optionalString("diff-digest"),
        mapped: layer.has("uidmap") || layer.has("gidmap"),
      }));
  }

  /** A file of an image, by its key. `undefined` if it is not there. */
  imageFile(id: string, key: string, limit: number): Uint8Array | undefined {
    return this.#read(`overlay-images/${requireId(id)}/${fileNameOf(key)}`, limit);
  }

  /** Opens what remains of a layer's archive. `undefined` if it is not there. */
  openTarSplit(id: string): Fd | undefined {
    return this.#open(`overlay-layers/${requireId(id)}.tar-split.gz`);
  }

  /**
   * Opens the directory of a layer's files. `undefined` if it is not there, and if the files are not in it by their names
   * (partially pulled layers that the store makes EROFS images of).
   */
  openDiff(id: string): Fd | undefined {
    const layer = `overlay/${requireId(id)}`;
    return this.#exists(`${layer}/composefs-data`)
      ? undefined
      : this.#open(`${layer}/diff`, O_DIRECTORY);
  }

  #list(name: string): JsonObject[] {
    const bytes = this.#read(name, MAX_LIST);
    if (bytes === undefined || bytes.length === 0) return [];
    return parseJsonList(bytes, `${this.path}/${name}`, MAX_LIST);
  }

  #read(name: string, limit: number): Uint8Array | undefined {
    const fd = this.#open(name);
    if (fd === undefined) return undefined;
    try {
      if ((this.#linux.statx(fd, "", AT_EMPTY_PATH).mode & S_IFMT) !== S_IFREG)
        throw new Error("expected a regular file");
      return readAll(this.#linux, fd, limit);
    } catch (error) {
      throw new Error(`${this.path}/${name}`, { cause: error });
    } finally {
      this.#linux.close(fd);
    }
  }

  #exists(name: string): boolean {
    const fd = this.#open(name);
    if (fd !== undefined) this.#linux.close(fd);
    return fd !== undefined;
  }

  #open(name: string, flags = 0): Fd | undefined {
    try {
      return this.#linux.openat2(this.#root, name, {
        flags: O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags,
        resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
      });
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined;
      throw new Error(this.path, { cause: error });
    }
  }
}

function idOf(object: JsonObject): string {
  const id = object.string("id");
  return ID.test(id) ? id : object.fail("id", "expected letters, digits, _, . and -");
}

function requireId(id: string): string {
  if (!ID.test(id)) throw new Error(`${JSON.stringify(id)} is not the ID of an image or layer`);
  return id;
}

/** Keys of digits, small letters and dots are file names; others in base64, after an equals sign. */
function fileNameOf(key: string): string {
  return /^[0-9a-z.]*$/.test(key) ? key : `=${Buffer.from(key).toString("base64")}`;
}
