/**
 * `Date` in the initramfs, which the build puts in its place: no moment is ever valid. The TOML parser's class for dates
 * is derived from it, so a date in a configuration file is an error ("invalid date"), as it should be there; the
 * engine's own `Date` would cost 16 KB.
 */
class NoDate {
  getTime(): number {
    return Number.NaN;
  }

  toISOString(): string {
    throw new RangeError("invalid date");
  }
}

export { NoDate as Date };
