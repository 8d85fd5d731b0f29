/**
 * Stages a deployment of an image that is in the repository: all that it takes to boot it is put in place, but the boot
 * menu stays as it is until the machine shuts down (see `finalize.ts`).
 *
 * `planStage` decides, and writes nothing but the image itself; `stage` does it. After a power failure at any moment the
 * machine boots what it booted before: what is half done is in no menu, and the next command that writes removes it.
 */
import { newBlsEntry } from "../../src/formats/bls-entry.ts";
import type { Tries } from "../../src/formats/boot-count.ts";
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import {
  formatOrigin,
  newOrigin,
  type Origin,
  type OriginImage,
  setOriginKargs,
} from "../../src/formats/origin.ts";
import type { OsLabel } from "../../src/formats/os-release.ts";
import {
  makeDirectories,
  replaceFile,
  TEMPORARY,
  withDirectory,
} from "../../src/linux/directories.ts";
import { HintedError } from "../../src/linux/hint.ts";
import type { Finding } from "../../src/model/boot-checks.ts";
import { deploymentTag } from "../../src/model/boot-gc.ts";
import type { Machine } from "../../src/model/deployments.ts";
import { seeThrough } from "../../src/model/etc/see-through.ts";
import type { EtcDirectory, FoundDirectory } from "../../src/model/etc/tree.ts";
import { composefsArgument, nextOptions } from "../../src/model/kargs.ts";
import { artifactName } from "../../src/model/menu-entry.ts";
import { menuFiles } from "../../src/model/menu-files.ts";
import { type MenuPlan, planNew } from "../../src/model/menu-plan.ts";
import { ENTRIES, STAGED_ENTRIES } from "../bootloader/boot-place.ts";
import { removeStagedEntries, replaceEntries } from "../bootloader/entries.ts";
import { findKernel, removeUnfinishedKernels, writeKernel } from "../bootloader/kernels.ts";
import { commitImages, imageTree } from "../oci/commit.ts";
import { type StoredImage, tagImage } from "../oci/image.ts";
import type { Repository } from "../repository/repository.ts";
import { checkBootable, requireBootable } from "./boot-check.ts";
import { buildEtc } from "./etc/build.ts";
import { removeEtc } from "./etc/remove.ts";
import { DEPLOY, type Host, SHARED_VAR } from "./host.ts";
import { imageEtc } from "./image-etc.ts";
import { type BootableKernel, kargsOf, kernelOf, labelOf, readImageTree } from "./image-facts.ts";
import { writeUpdateRecord } from "./outcome.ts";
import { removeStagedRecord, writeStagedRecord } from "./staged.ts";
import { originName, removeUnfinishedStates } from "./state.ts";

const DIRECTORY_MODE = 0o755;
const ORIGIN_MODE = 0o644;
/** So often a new deployment is tried before the one before it is booted again. */
const TRIES: Tries = { left: 3, done: 0 };

export interface StageRequest {
  /** Where later upgrades come from. */
  readonly reference: OriginImage;
  /** How many deployments there are to be besides pinned ones, at least 2. */
  readonly keep: number;
  /** Only downloaded: it is not finalized before it is unlocked. */
  readonly locked: boolean;
  /** Whether its boots are counted until one of them went well. */
  readonly counted: boolean;
  /** The kernel's arguments where no deployment runs that has some. */
  readonly options?: string;
  /** Stages an image that would not come up, as far as can be told; absent where nobody can ask for that. */
  readonly force?: boolean;
}

/** What staging will do. */
export interface StagePlan {
  readonly id: string;
  readonly label: OsLabel;
  readonly kernel: BootableKernel;
  /** The kernel's command line. */
  readonly options: string;
  readonly origin: Origin;
  /** `/etc` of the image. */
  readonly etc: EtcDirectory;
  /** `/etc` of the image that runs; absent if none does. */
  readonly pristine: FoundDirectory | undefined;
  readonly menu: MenuPlan;
  readonly tries: Tries | undefined;
  readonly locked: boolean;
  /** What speaks against the image: only warnings, if it was not forced. */
  readonly findings: readonly Finding[];
}

/**
 * Decides how an image is staged. Writes the image's filesystem to the repository, and nothing else. An image that would not
 * come up, as far as can be told, is an error unless it is forced.
 */
export function planStage(
  host: Host,
  repository: Repository,
  machine: Machine,
  image: StoredImage,
  request: StageRequest,
): StagePlan {
  const id = toHex(
    commitImages(repository, image, { bootable: true }).find(({ bootable }) => bootable)!.digest,
  );
  const twin = machine.deployments.find((one) => one.id === id);
  if (twin !== undefined) {
    throw new HintedError(
      `the image has the same fs-verity digest as the ${twin.slot} deployment ${id.slice(0, 12)}`,
      "cfsboot switch --in-place makes that deployment follow another reference",
    );
  }
  const tree = imageTree(repository, image, { bootable: true });
  const kernel = kernelOf(repository, tree);
  // a repository that was sealed while the machine runs is good for what is booted next
  const insecure = repository.insecure && host.running?.insecure !== false;
  const findings = checkBootable(repository, tree, insecure);
  if (request.force !== true) requireBootable(findings, request.force === false);
  const label = labelOf(repository, tree);
  const architecture = image.config.document?.architecture ?? "";
  const { booted } = machine;
  const present = booted && readImageTree(repository, booted.id);
  const before = present === undefined ? [] : kargsOf(repository, present, architecture);
  const options = nextOptions(
    booted?.entry.bls.options ?? request.options ?? "",
    before,
    kargsOf(repository, tree, architecture),
    composefsArgument(id, insecure),
  );
  const origin = newOrigin({
    image: request.reference,
    bootType: "bls",
    bootDigest: kernel.digest,
    manifestDigest: manifestOf(image),
  });
  const local = booted?.state?.origin?.kargs;
  return {
    id,
    label,
    kernel,
    options,
    origin: local === undefined ? origin : setOriginKargs(origin, local),
    etc: seeThrough(imageEtc(repository, tree)).tree,
    pristine: present && imageEtc(repository, present),
    menu: planNew(machine, id, request.keep),
    tries: request.counted ? TRIES : undefined,
    locked: request.locked,
    findings,
  };
}

function manifestOf({ manifest, name }: StoredImage): string {
  if (manifest === undefined) throw new Error(`image ${name}: expected it by its manifest`);
  return manifest.digest;
}

/**
 * Carries out a plan.
 *
 * Order: the tag that keeps the image; the old record goes, if there is one; the kernel; the state directory; the staged menu;
 * the record on disk; the one that counts. Each is durable before the next.
 */
export function stage(host: Host, repository: Repository, plan: StagePlan): void {
  keepImage(repository, plan);
  removeStagedRecord(host);
  const artifact = placeKernel(host, plan);
  writeState(host, plan);
  writeMenu(host, plan, artifact, STAGED_ENTRIES);
  record(host, plan.id, plan.locked);
}

/** Makes what is staged but only downloaded the one that is finalized at shutdown. */
export function unlock(host: Host, id: string): void {
  record(host, id, false);
}

function record(host: Host, id: string, locked: boolean): void {
  const stagedIn = host.bootId;
  writeUpdateRecord(host, { id, stagedIn, locked, outcome: "staged", error: undefined });
  writeStagedRecord(host, { id, locked });
}

/** As `stage`, but the menu is changed at once: where no system runs. */
export function deploy(host: Host, repository: Repository, plan: StagePlan): void {
  keepImage(repository, plan);
  const artifact = placeKernel(host, plan);
  writeState(host, plan);
  writeMenu(host, plan, artifact, ENTRIES);
}

function keepImage(repository: Repository, { origin: { manifestDigest } }: StagePlan): void {
  if (manifestDigest === undefined) return;
  tagImage(repository, manifestDigest, deploymentTag(manifestDigest));
}

/** Makes sure that every place has the kernel. Returns the artifact that it is kept under. */
function placeKernel(host: Host, { id, kernel }: StagePlan): string {
  const { linux, places } = host;
  const found = findKernel(linux, places[0], kernel.digest);
  // one that an early release of bootc has written, without a prefix, is not what new entries name
  const shared = found?.name === artifactName(found?.artifact ?? "") ? found.artifact : id;
  for (const [i, place] of places.entries()) {
    removeUnfinishedKernels(linux, place);
    const here = i === 0 ? found : findKernel(linux, place, kernel.digest);
    if (here?.artifact === shared) continue;
    writeKernel(linux, place, shared, kernel.source, kernel.digest);
  }
  return shared;
}

/** Makes the state directory, as a whole: it gets its name when it is complete and durable. */
function writeState(host: Host, { id, etc, origin }: StagePlan): void {
  const { linux, sysroot } = host;
  removeUnfinishedStates(host);
  makeDirectories(linux, sysroot, DEPLOY, DIRECTORY_MODE);
  makeDirectories(linux, sysroot, SHARED_VAR, DIRECTORY_MODE);
  withDirectory(linux, sysroot, DEPLOY, (deploy) => {
    const temporary = `${id}${TEMPORARY}`;
    linux.mkdirat(deploy, temporary, DIRECTORY_MODE);
    withDirectory(linux, deploy, temporary, (directory) => {
      buildEtc(linux, directory, "etc", etc);
      linux.symlinkat(`../../${SHARED_VAR.slice("state/".length)}`, directory, "var");
      const text = toBytes(fromText(formatOrigin(origin)));
      replaceFile(linux, directory, originName(id), text, ORIGIN_MODE);
      linux.syncfs(directory);
    });
    removeEtc(linux, deploy, id); // what a deployment of the same image has left
    linux.renameat2(deploy, temporary, deploy, id, 0);
    linux.fsync(deploy);
  });
}

function writeMenu(host: Host, plan: StagePlan, artifact: string, path: string): void {
  const { linux } = host;
  const version = plan.label.version ?? plan.id;
  for (const place of host.places) {
    const directory = `${place.prefix}${artifactName(artifact)}`;
    const bls = newBlsEntry({
      title: plan.label.title ?? plan.id,
      version,
      kernel: { key: "linux", path: `${directory}/vmlinuz` },
      initrds: [`${directory}/initrd`],
      options: plan.options,
    });
    const names = { osId: plan.label.osId, version };
    const files = menuFiles(plan.menu.menu, names, { bls, tries: plan.tries });
    replaceEntries(linux, place, path, files);
    if (path === ENTRIES) removeStagedEntries(linux, place, STAGED_ENTRIES);
  }
}
