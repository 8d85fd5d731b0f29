/** The files of an image in a repository, read without mounting it. */
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ascii, display, toBytes } from "../../src/formats/bytestring.ts";
import { objectPath, toHex } from "../../src/formats/digest.ts";
import { readErofs } from "../../src/formats/erofs/index.ts";
import type { Directory, Leaf, Node, Tree } from "../../src/formats/tree.ts";

/** Owner and permissions of a file that was extracted by who may not be root. */
export interface Ownership {
  /** Relative to the directory that was extracted; "" is that directory. */
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** File type and permissions, as in `st_mode`; `undefined` for symlinks. */
  readonly mode: number | undefined;
}

export class ImageFiles {
  readonly #repository: string;
  readonly #tree: Tree;

  /** `digest` is the image's, in hex. */
  constructor(repository: string, digest: string) {
    this.#repository = repository;
    this.#tree = readErofs(readFileSync(join(repository, "images", digest)));
  }

  /** Names in a directory. */
  list(path: string): string[] {
    return [...this.#directory(path).entries.keys()].sort();
  }

  /** Content of a regular file. */
  read(path: string): Uint8Array {
    const node = this.#find(path);
    if (node?.type !== "leaf") throw new Error(`no file ${path} in the image`);
    return this.#content(node, path);
  }

  /** Path of the object that holds a regular file's content, relative to the repository. */
  object(path: string): string {
    const node = this.#find(path);
    if (node?.type !== "leaf" || node.content.type !== "external")
      throw new Error(`${path} in the image is not a file with an object`);
    return join("objects", objectPath(toHex(node.content.digest)));
  }

  /** Copies a directory of the image to `target`, which must not exist. Does not need root: see the result. */
  extract(path: string, target: string): Ownership[] {
    const ownership: Ownership[] = [];
    const visit = (node: Node, at: string, relative: string) => {
      if (node.stat.xattrs.size > 0) throw new Error(`${path}/${relative} has extended attributes`);
      const { uid, gid } = node.stat;
      if (node.type === "directory") {
        mkdirSync(at);
        ownership.push({ path: relative, uid, gid, mode: 0o040000 | node.stat.mode });
        for (const [name, child] of node.entries) {
          if (display(name) !== name) throw new Error(`${path}/${relative}: name ${display(name)}`);
          visit(child, join(at, name), join(relative, name));
        }
      } else if (node.content.type === "symlink") {
        symlinkSync(Buffer.from(toBytes(node.content.target)), at);
        ownership.push({ path: relative, uid, gid, mode: undefined });
      } else {
        writeFileSync(at, this.#content(node, `${path}/${relative}`));
        chmodSync(at, 0o600);
        ownership.push({ path: relative, uid, gid, mode: 0o100000 | node.stat.mode });
      }
    };
    visit(this.#directory(path), target, "");
    return ownership;
  }

  #content(leaf: Leaf, path: string): Uint8Array {
    const { content } = leaf;
    switch (content.type) {
      case "inline":
        return content.data;
      case "external":
        return readFileSync(join(this.#repository, "objects", objectPath(toHex(content.digest))));
      case "sparse":
        return new Uint8Array(content.size);
      default:
        throw new Error(`${path} in the image is a ${content.type}`);
    }
  }

  #directory(path: string): Directory {
    const node = this.#find(path);
    if (node?.type !== "directory") throw new Error(`no directory ${path} in the image`);
    return node;
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#tree;
    for (const name of path.split("/").filter((part) => part !== "")) {
      node = node?.type === "directory" ? node.entries.get(ascii(name)) : undefined;
    }
    return node;
  }
}
