/** Checking a whole repository: metadata, objects, streams, images, references. Nothing is written. */
import { display, fromBytes, toText } from "../../src/formats/bytestring.ts";
import { sameDigest, toHex } from "../../src/formats/digest.ts";
import { erofsObjects } from "../../src/formats/erofs/index.ts";
import { parseMetadata } from "../../src/formats/meta-json.ts";
import { parseSplitstream } from "../../src/formats/splitstream.ts";
import { readFile } from "../../src/linux/files.ts";
import { displayPath, isErrno } from "../../src/linux/linux.ts";
import type { LinkKind } from "../../src/model/liveness.ts";
import { zstd } from "../zstd.ts";
import { type CheckedObjects, checkObjects, type ObjectsOptions } from "./check-objects.ts";
import { IMAGE_LIMIT, type LinkFile, listEntries, listReferences } from "./contents.ts";
import { RepositoryError } from "./errors.ts";
import type { Checked, Finding } from "./finding.ts";
import { digestOfHex, digestOfTarget, META_JSON } from "./layout.ts";
import type { Repository, RepositoryFiles } from "./repository.ts";
import { STREAM_LIMIT } from "./streams.ts";

export interface FsckReport {
  /** Undefined: there is no meta.json. */
  readonly metadata: "ok" | "error" | undefined;
  readonly objects: Checked;
  readonly streams: Checked;
  readonly images: Checked;
  /** Symlinks that lead nowhere. */
  readonly brokenLinks: number;
  /** Objects that streams and images refer to and that are not there, once for each that does. */
  readonly missingObjects: number;
  readonly findings: readonly Finding[];
}

const METADATA_LIMIT = 1 << 20;
const MISSING: readonly string[] = [
  "missing-object-ref",
  "missing-named-ref",
  "image-missing-object",
] satisfies Finding["kind"][];

/** Checks a repository. What is wrong ends in the report; only what keeps the check itself from its work is thrown. */
export function checkRepository(
  repository: Repository,
  options: Partial<ObjectsOptions> = {},
): FsckReport {
  const { files } = repository;
  const findings: Finding[] = [];
  const report = (finding: Finding) => findings.push(finding);

  const metadata = checkMetadata(files, report);
  const objects = checkObjects(files, { objects: "all", readData: false, ...options }, report);
  const check = new Check(repository, objects, report);
  const streams = check.entries("streams");
  check.references("streams");
  const images = check.entries("images");
  check.references("images");
  return {
    metadata,
    objects: { checked: objects.checked, corrupted: objects.corrupted },
    streams,
    images,
    brokenLinks: findings.filter(({ kind }) => kind === "broken-symlink").length,
    missingObjects: findings.filter(({ kind }) => MISSING.includes(kind)).length,
    findings,
  };
}

/** meta.json as it is now: what the repository was opened with may be of before. */
function checkMetadata(
  { platform: { linux }, root, hash }: RepositoryFiles,
  report: (finding: Finding) => void,
): FsckReport["metadata"] {
  try {
    const text = toText(fromBytes(readFile(linux, root, META_JSON, METADATA_LIMIT)));
    if (text === undefined) throw new Error("not UTF-8");
    const metadata = parseMetadata(text);
    if (metadata.hash === hash) return "ok";
    const what = `it says ${metadata.hash}, the repository was opened with ${hash}`;
    report({ kind: "metadata-algorithm-mismatch", where: META_JSON, what });
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return undefined;
    report({ kind: "metadata-parse-failed", where: META_JSON, cause });
  }
  return "error";
}

/** The links of a repository, and what is behind them. */
class Check {
  readonly #repository: Repository;
  readonly #objects: CheckedObjects;
  readonly #report: (finding: Finding) => void;

  constructor(repository: Repository, objects: CheckedObjects, report: (finding: Finding) => void) {
    this.#repository = repository;
    this.#objects = objects;
    this.#report = report;
  }

  /** Checks what `streams/` or `images/` lists. */
  entries(kind: LinkKind): Checked {
    const count: Checked = { checked: 0, corrupted: 0 };
    for (const link of listEntries(this.#repository.files, kind)) {
      count.checked++;
      const findings = kind === "streams" ? this.#stream(link) : this.#image(link);
      let sound = true;
      for (const finding of findings) {
        sound = false;
        this.#report({ where: displayPath(link.path), ...finding });
      }
      if (!sound) count.corrupted++;
    }
    return count;
  }

  /** Checks that every reference leads somewhere. */
  references(kind: LinkKind): void {
    for (const link of listReferences(this.#repository.files, kind)) {
      const where = displayPath(link.path);
      const finding =
        link.target === undefined
          ? ({ kind: "unexpected-file-type", what: "expected a symbolic link" } as const)
          : this.#resolve(link);
      if (finding !== undefined) this.#report({ where, ...finding });
    }
  }

  *#stream(link: LinkFile): Generator<Wrong> {
    const { hash } = this.#repository;
    const digest = yield* this.#object(link, "stream-open-failed");
    if (digest === undefined) return;
    const bytes = yield* this.#read(digest, STREAM_LIMIT, "stream");
    if (bytes === undefined) return;
    try {
      const stream = parseSplitstream(bytes, hash, zstd);
      const named = stream.namedRefs();
      for (const object of stream.objectRefs) yield* this.#needs(object, "missing-object-ref");
      for (const [name, object] of named) yield* this.#needs(object, "missing-named-ref", name);
    } catch (cause) {
      yield { kind: "stream-read-failed", cause, object: digest };
    }
  }

  *#image(link: LinkFile): Generator<Wrong> {
    const digest = yield* this.#object(link, "image-open-failed");
    if (digest === undefined) return;
    const named = digestOfHex(link.name, this.#repository.hash);
    if (named === undefined || !sameDigest(named, digest)) {
      yield { kind: "image-open-failed", what: `it leads to another object, ${toHex(digest)}` };
      return;
    }
    const bytes = yield* this.#read(digest, IMAGE_LIMIT, "image");
    if (bytes === undefined) return;
    try {
      for (const object of erofsObjects(bytes)) yield* this.#needs(object, "image-missing-object");
    } catch (cause) {
      yield { kind: "image-invalid", cause, object: digest };
    }
  }

  /** The object that an entry leads to. */
  *#object(link: LinkFile, failed: Finding["kind"]): Generator<Wrong, Uint8Array | undefined> {
    if (link.target === undefined) {
      yield { kind: "entry-not-symlink", what: "expected a symbolic link" };
      return undefined;
    }
    const digest = digestOfTarget(link.target, this.#repository.hash);
    const broken = this.#resolve(link);
    if (broken !== undefined) {
      yield { ...broken, ...(digest === undefined ? {} : { object: digest }) };
      return undefined;
    }
    if (digest === undefined) {
      yield { kind: failed, what: `it leads to ${display(link.target)}, which is no object` };
    }
    return digest;
  }

  #resolve({ path, target }: LinkFile): Wrong | undefined {
    const { platform, root } = this.#repository.files;
    try {
      platform.linux.statx(root, path, 0);
      return undefined;
    } catch (cause) {
      if (!isErrno(cause, "ENOENT", "ENOTDIR")) return { kind: "stat-failed", cause };
      return { kind: "broken-symlink", what: `there is no ${display(target!)}` };
    }
  }

  *#read(
    digest: Uint8Array,
    limit: number,
    what: "stream" | "image",
  ): Generator<Wrong, Uint8Array | undefined> {
    try {
      return this.#repository.readObject(digest, limit);
    } catch (cause) {
      const step = cause instanceof RepositoryError ? "open" : "read";
      yield { kind: `${what}-${step}-failed`, cause, object: digest };
      return undefined;
    }
  }

  *#needs(object: Uint8Array, kind: Finding["kind"], name?: string): Generator<Wrong> {
    const { present, unreadable } = this.#objects;
    if (present.has(object)) return;
    const what = `${name === undefined ? "" : `${name}: `}object ${toHex(object)}`;
    if (unreadable.has(object[0]!)) {
      yield { kind: "object-check-failed", what: `${what} cannot be looked for` };
    } else {
      yield { kind, what: `${what} is missing`, object };
    }
  }
}

type Wrong = Omit<Finding, "where">;
