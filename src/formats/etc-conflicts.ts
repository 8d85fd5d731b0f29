/** The words for what to do about conflicts in `/etc`, as they are in files. What they mean: `model/etc/merge.ts`. */
export const ETC_CONFLICTS = ["fail", "keep-local", "take-image", "merge"] as const;
export type EtcConflicts = (typeof ETC_CONFLICTS)[number];

/** The word, if a text is one. */
export function parseEtcConflicts(text: string): EtcConflicts | undefined {
  return ETC_CONFLICTS.find((word) => word === text);
}
