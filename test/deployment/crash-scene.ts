/** Machines that operations of the crash tests begin with. */
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { makeDirectories } from "../../src/linux/directories.ts";
import { putFile } from "../model-disk/linux.ts";
import { LAYOUTS, ModelMachine } from "../model-disk/machine.ts";
import type { OsImage } from "./machine.ts";

const os = (version: string, kernel: string, app: string): OsImage => ({
  version,
  kernel: kernel.repeat(50),
  etc: { "app.conf": `${app}\n`, "dir/": "", [`only-${version}`]: `${version}\n`.repeat(30) },
});
export const FIRST = os("13", "6.12", "one");
const SECOND = os("14", "6.13", "two");
const THIRD = os("15", "6.14", "three");
export const FOURTH = os("16", "6.15", "four");

export type LayoutName = keyof typeof LAYOUTS;
type Three = readonly [string, string, string];

export interface Scene {
  /** Pulled: three images, nothing installed. */
  readonly empty: ModelMachine;
  /** The first one runs. */
  readonly first: ModelMachine;
  /** The second one runs, the first one is behind it. */
  readonly second: ModelMachine;
  /** Of the three images, which are the same everywhere. */
  readonly manifests: Three;
  /** Their deployments. */
  readonly ids: Three;
}

/** Files of others among the entries. */
export const FOREIGN = ["windows.conf.off", "theirs/notes", "random-seed"];

const made = new Map<LayoutName, Promise<Scene>>();

/** Makes them once. */
export function sceneOf(layout: LayoutName): Promise<Scene> {
  const scene = made.get(layout) ?? makeScene(layout);
  made.set(layout, scene);
  return scene;
}

async function makeScene(layout: LayoutName): Promise<Scene> {
  const empty = ModelMachine.create(LAYOUTS[layout]);
  for (const { path } of empty.layout.places) {
    const top = empty.linux.openat(AT_FDCWD, path, 0);
    makeDirectories(empty.linux, top, "loader/entries/theirs", 0o755);
    empty.linux.close(top);
    for (const name of FOREIGN) {
      putFile(empty.linux, `${path}/loader/entries/${name}`, `of ${name}\n`);
    }
  }
  const manifests: string[] = [];
  for (const image of [FIRST, SECOND, THIRD]) manifests.push(await empty.pull(image));
  const installed = empty.copy();
  const one = installed.stage(manifests[0]!);
  const first = installed.booted();
  const updated = first.copy();
  const two = updated.stage(manifests[1]!);
  updated.finalize();
  const second = updated.booted();
  const three = second.copy().stage(manifests[2]!);
  return { empty, first, second, manifests: manifests as never, ids: [one, two, three] };
}

/** The machine with other files in the `/etc` of what runs. */
export function withLocal(
  from: ModelMachine,
  files: Readonly<Record<string, string>>,
): ModelMachine {
  const machine = from.copy();
  const { linux } = machine;
  const path = `/sysroot/state/deploy/${machine.running?.id}/etc`;
  const etc = linux.openat(AT_FDCWD, path, 0);
  for (const [name, content] of Object.entries(files)) {
    makeDirectories(linux, etc, name.split("/").slice(0, -1).join("/"), 0o755);
    putFile(linux, `${path}/${name}`, content);
  }
  linux.close(etc);
  return machine;
}
