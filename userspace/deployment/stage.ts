/**
 * Stages a deployment of an image that is in the repository: all that it takes to boot it is put in place, but the boot
 * menu stays as it is until the machine shuts down (see `finalize.ts`).
 *
 * `planStage` decides, and writes nothing; `stage` does it. After a power failure at any moment the
 * machine boots what it booted before: what is half done is in no menu, and the next command that writes removes it.
 */
import { newBlsEntry } from "../../src/formats/bls-entry.ts";
import type { Tries } from "../../src/formats/boot-count.ts";
import { fromText, toBytes } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import { writeErofs } from "../../src/formats/erofs/writer.ts";
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
import { checkUnified, type Finding } from "../../src/model/boot-checks.ts";
import { deploymentTag } from "../../src/model/boot-gc.ts";
import { findKernels, findUkis } from "../../src/model/boot-resources.ts";
import { isLost, type Machine } from "../../src/model/deployments.ts";
import { seeThrough } from "../../src/model/etc/see-through.ts";
import type { EtcDirectory, FoundDirectory } from "../../src/model/etc/tree.ts";
import { composefsArgument, nextOptions } from "../../src/model/kargs.ts";
import { countsBoots } from "../../src/model/loader.ts";
import { ukiName } from "../../src/model/menu-entry.ts";
import { menuFiles } from "../../src/model/menu-files.ts";
import { type MenuPlan, planNew } from "../../src/model/menu-plan.ts";
import { entryOptions } from "../../src/model/menu-repair.ts";
import type { Tree } from "../../src/model/tree.ts";
import { type BootPlace, ENTRIES, STAGED_ENTRIES, startLines } from "../bootloader/boot-place.ts";
import { removeStagedEntries, replaceEntries } from "../bootloader/entries.ts";
import { removeUnfinishedGrubEnv } from "../bootloader/grub-counter.ts";
import {
  findKernel,
  holdsKernel,
  nameOf,
  removeUnfinishedKernels,
  writeKernel,
} from "../bootloader/kernels.ts";
import { digestBytes } from "../hash.ts";
import { commitImages, imageTree } from "../oci/commit.ts";
import { type StoredImage, tagImage } from "../oci/image.ts";
import type { PullResult } from "../oci/pull.ts";
import type { Repository } from "../repository/repository.ts";
import { checkBootable, requireBootable } from "./boot-check.ts";
import { containerTree } from "./container-tree.ts";
import { buildEtc } from "./etc/build.ts";
import { removeEtc } from "./etc/remove.ts";
import { DEPLOY, type Host, SHARED_VAR } from "./host.ts";
import { imageEtc } from "./image-etc.ts";
import {
  type BootableKernel,
  kargsOf,
  kernelOf,
  labelOf,
  linuxOf,
  readImageTree,
} from "./image-facts.ts";
import { writeUpdateRecord } from "./outcome.ts";
import { requireBoots } from "./sealed.ts";
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
  /** Whether its boots are counted until one of them went well, if the boot loader can. */
  readonly counted: boolean;
  /** The kernel's arguments where no deployment runs that has some. */
  readonly options?: string;
  /** The type of the file system on which the machine's root is; absent: as it has been. */
  readonly rootFileSystem?: string;
  /** Stages an image that would not come up, as far as can be told; absent where nobody can ask for that. */
  readonly force?: boolean;
}

/** What staging will do. */
export interface StagePlan {
  readonly id: string;
  readonly label: OsLabel;
  readonly kernel: BootableKernel;
  /** What the kernel is kept under: its own id, or that of the deployment which has brought the same one. */
  readonly artifact: string;
  /** The places that have not got it yet. */
  readonly missing: readonly BootPlace[];
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

/** The filesystem that a machine boots of an image, in the repository. */
export interface BootImage {
  readonly id: string;
  readonly tree: Tree;
}

/** Makes it, unless the pull has that fetched the image. */
export function bootImageOf(
  repository: Repository,
  image: StoredImage,
  pulled?: Pick<PullResult, "bootImage" | "bootTree">,
): BootImage {
  if (pulled?.bootImage !== undefined && pulled.bootTree !== undefined) {
    return { id: pulled.bootImage, tree: pulled.bootTree };
  }
  const made = commitImages(repository, image, { bootable: true });
  const { digest, tree } = made.find(({ bootable }) => bootable)!;
  return { id: toHex(digest), tree: tree! };
}

/** What it would be; stores nothing. */
export function lookAtBootImage(repository: Repository, image: StoredImage): BootImage {
  const tree = imageTree(repository, image, { bootable: true });
  const bytes = writeErofs(tree, { format: repository.formats[0]! });
  return { id: toHex(digestBytes(repository.hash, bytes)), tree };
}

/**
 * Decides how an image is staged, whose filesystem is in the repository. Writes nothing. An image that would not come up, as
 * far as can be told, is an error unless it is forced.
 */
export function planStage(
  host: Host,
  repository: Repository,
  machine: Machine,
  image: StoredImage,
  { id, tree }: BootImage,
  request: StageRequest,
): StagePlan {
  const twin = machine.deployments.find((one) => one.id === id);
  if (twin !== undefined && !isLost(twin)) {
    throw new HintedError(
      `the image has the same fs-verity digest as the ${twin.slot} deployment ${id.slice(0, 12)}`,
      "cfsboot switch --in-place makes that deployment follow another reference",
    );
  }
  if (machine.undecided?.includes(id) === true) {
    throw new HintedError(
      `${id.slice(0, 12)} may be what a boot entry boots that cannot be read, and has a state of its own`,
      "cfsboot status names the entry; without it the image can be staged",
    );
  }
  const kernel = kernelFor(host, repository, image);
  const { unified } = kernel;
  const insecure =
    unified === undefined
      ? mayBeInsecure(host, repository)
      : requireBoots(unified, id, tree).insecure;
  const label = unified?.label ?? labelOf(repository, tree);
  const architecture = image.config.document?.architecture ?? "";
  const { booted } = machine;
  const present = booted && readImageTree(repository, booted.id);
  const before = present === undefined ? [] : kargsOf(repository, present, architecture);
  const after = kargsOf(repository, tree, architecture);
  const options =
    unified?.cmdline ??
    nextOptions(optionsOf(host, machine, request), before, after, composefsArgument(id, insecure));
  const local = booted?.state?.origin?.kargs;
  const findings = checkBootable(repository, tree, kernel, {
    ...{ verity: !insecure, cmdline: options, rootFileSystem: request.rootFileSystem },
  });
  if (unified !== undefined) {
    findings.push(
      ...checkUnified({
        needsVerity: !insecure,
        hasVerity: !mayBeInsecure(host, repository),
        hasLocalKargs: local !== undefined && local.added.length + local.deleted.length > 0,
      }),
    );
  }
  if (request.force !== true) requireBootable(findings, request.force === false);
  const origin = newOrigin({
    image: request.reference,
    bootType: unified === undefined ? "bls" : "uki",
    bootDigest: kernel.bootDigest,
    manifestDigest: manifestOf(image),
  });
  return {
    id,
    label,
    kernel,
    ...placesFor(host, id, kernel),
    options,
    origin: local === undefined ? origin : setOriginKargs(origin, local),
    etc: seeThrough(imageEtc(repository, tree)).tree,
    pristine: present && imageEtc(repository, present),
    menu: planNew(machine, id, request.keep),
    tries: request.counted && countsBoots(host.loader) ? TRIES : undefined,
    locked: request.locked,
    findings,
  };
}

/** A repository that was sealed while the machine runs is good for what is booted next. */
function mayBeInsecure({ running }: Host, repository: Repository): boolean {
  return repository.insecure && running?.insecure !== false;
}

/** What the machine boots of an image: where GRUB boots, no unified kernel image. */
function kernelFor({ places }: Host, repository: Repository, image: StoredImage): BootableKernel {
  const tree = containerTree(repository, image);
  const [uki] = findUkis(tree);
  const place = places.find(({ ukis }) => ukis === undefined);
  if (place === undefined || uki === undefined) return kernelOf(repository, tree);
  if (findKernels(tree).length > 0) return linuxOf(repository, tree);
  throw new HintedError(
    `the image boots with the unified kernel image ${uki.path}, and ${place.path} is what GRUB reads`,
    "systemd-boot boots unified kernel images; GRUB an image with /usr/lib/modules/VERSION/vmlinuz and initramfs.img",
  );
}

/** What there is to start from for the arguments of a kernel. */
function optionsOf({ cmdline }: Host, { booted }: Machine, { options }: StageRequest): string {
  if (booted === undefined) return options ?? "";
  if (booted.entry.bootType === "uki") return entryOptions(cmdline ?? "");
  return booted.entry.bls.options ?? "";
}

/** What a kernel is kept under, and the places that have not got it. */
export function placesFor(
  { linux, places }: Host,
  id: string,
  { digest, unified }: BootableKernel,
): Pick<StagePlan, "artifact" | "missing"> {
  if (unified !== undefined) {
    const name = ukiName(id);
    const missing = places.filter((place) => !holdsKernel(linux, place, name, digest));
    return { artifact: id, missing };
  }
  const found = places.map((place) => findKernel(linux, place, digest)?.artifact);
  const artifact = found[0] ?? id;
  return { artifact, missing: places.filter((_, i) => found[i] !== artifact) };
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
  placeKernel(host, plan);
  writeState(host, plan);
  writeMenu(host, plan, STAGED_ENTRIES);
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
  placeKernel(host, plan);
  writeState(host, plan);
  writeMenu(host, plan, ENTRIES);
}

function keepImage(repository: Repository, { origin: { manifestDigest } }: StagePlan): void {
  if (manifestDigest === undefined) return;
  tagImage(repository, manifestDigest, deploymentTag(manifestDigest));
}

/** Makes sure that every place has the kernel, and nothing that an interrupted update has left. */
function placeKernel({ linux, places }: Host, { kernel, artifact, missing }: StagePlan): void {
  for (const place of places) {
    removeUnfinishedKernels(linux, place);
    removeUnfinishedGrubEnv(linux, place);
  }
  for (const place of missing) writeKernel(linux, place, artifact, kernel.source, kernel.digest);
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

function writeMenu(host: Host, plan: StagePlan, path: string): void {
  const { linux } = host;
  const version = plan.label.version ?? plan.id;
  for (const place of host.places) {
    const { kernel, artifact, label, options } = plan;
    const bls = newBlsEntry({
      title: label.title ?? plan.id,
      version,
      ...startLines(place, nameOf(kernel.source, artifact)),
      ...(kernel.unified === undefined && { options }),
    });
    const names = { osId: plan.label.osId, version };
    const files = menuFiles(plan.menu.menu, names, { bls, tries: plan.tries });
    replaceEntries(linux, place, path, files);
    if (path === ENTRIES) removeStagedEntries(linux, place, STAGED_ENTRIES);
  }
}
