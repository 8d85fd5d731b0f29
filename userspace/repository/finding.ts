/** What a check finds to be wrong. */

/** The kinds of composefs-rs. */
export type FindingKind =
  | "object-invalid-name"
  | "object-open-failed"
  | "object-digest-mismatch"
  | "object-verity-failed"
  | "object-verity-missing"
  | "entry-not-symlink"
  | "broken-symlink"
  | "stat-failed"
  | "unexpected-file-type"
  | "stream-open-failed"
  | "missing-object-ref"
  | "stream-read-failed"
  | "missing-named-ref"
  | "object-check-failed"
  | "image-open-failed"
  | "image-read-failed"
  | "image-invalid"
  | "image-missing-object"
  | "metadata-parse-failed"
  | "metadata-algorithm-mismatch";

export interface Finding<Kind extends string = FindingKind> {
  readonly kind: Kind;
  /** Where: a path in the repository, or the name of an image. For people. */
  readonly where: string;
  /** What is wrong; or else `cause` tells. */
  readonly what?: string;
  readonly cause?: unknown;
  /** The object that is damaged or missing, if it is about one. */
  readonly object?: Uint8Array;
}

/** What was checked, and how much of it was found to be wrong. */
export interface Checked {
  checked: number;
  corrupted: number;
}
