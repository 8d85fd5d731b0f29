/** EROFS images of composefs: trees to bytes and back. */
export { type CInput, type Home, holdsWhiteout, NO_C_INPUT } from "./c-input.ts";
export { ErofsImage } from "./image.ts";
export type { ErofsFormat } from "./layout.ts";
export { backingPaths, dumpLinesC, type Filter, listLines } from "./listing.ts";
export { erofsObjects } from "./objects.ts";
export { readErofs } from "./reader.ts";
export { type WriteOptions, writeErofs } from "./writer.ts";
