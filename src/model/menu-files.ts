/** The files of a planned boot menu. */
import { type BlsEntry, serializeBlsEntry, setBlsSortKey } from "../formats/bls-entry.ts";
import { joinBootCount, type Tries } from "../formats/boot-count.ts";
import type { MenuEntry } from "./menu-entry.ts";
import { entryNames, type PlannedEntry } from "./menu-plan.ts";

/** A file of the directory of entries. */
export interface MenuFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What a menu's first entry is called by, and what is new in it. */
export interface MenuNames {
  /** `ID` of the default deployment's os-release. */
  readonly osId: string;
  /** Its version. */
  readonly version: string;
}

/** What the entry of a deployment that is new says; its sort key is put in. */
export interface NewEntry {
  readonly bls: BlsEntry;
  /** Absent: it is not counted. */
  readonly tries: Tries | undefined;
}

/** The files of a menu, in its order. `fresh` is for the planned entry that is new. */
export function menuFiles(
  menu: readonly PlannedEntry[],
  { osId, version }: MenuNames,
  fresh: NewEntry | undefined,
): MenuFile[] {
  const names = entryNames(menu.length, osId, version);
  return menu.map(({ id, entry }, place) => {
    const { bls, tries } = entry ?? required(fresh, id);
    const { fileName, sortKey } = names[place]!;
    return {
      name: joinBootCount(`${fileName}.conf`, tries),
      bytes: serializeBlsEntry(setBlsSortKey(bls, sortKey)),
    };
  });
}

function required(fresh: NewEntry | undefined, id: string): NewEntry {
  if (fresh === undefined) throw new Error(`there is no entry for ${id}`);
  return fresh;
}

/** What the menu is called by whose first entry is this one. */
export function namesOfEntry({ bls, id }: MenuEntry): MenuNames {
  const osId = /^bootc-(.+)-\d+$/.exec(bls.sortKey ?? "")?.[1] ?? "bootc";
  return { osId, version: bls.version ?? id };
}
