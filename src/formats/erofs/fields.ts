/** Fields of on-disk structures: little-endian integers at an offset, for reader and writer alike. */

export interface Field<T> {
  readonly offset: number;
  get(view: DataView, base: number): T;
  set(view: DataView, base: number, value: T): void;
}

export const u8 = (offset: number): Field<number> => ({
  offset,
  get: (view, base) => view.getUint8(base + offset),
  set: (view, base, value) => view.setUint8(base + offset, value),
});

export const u16 = (offset: number): Field<number> => ({
  offset,
  get: (view, base) => view.getUint16(base + offset, true),
  set: (view, base, value) => view.setUint16(base + offset, value, true),
});

export const u32 = (offset: number): Field<number> => ({
  offset,
  get: (view, base) => view.getUint32(base + offset, true),
  set: (view, base, value) => view.setUint32(base + offset, value, true),
});

/** 64 bits as a number: exact up to 2^53, beyond that it keeps its magnitude, for a bounds check to fail on. */
export const u64 = (offset: number): Field<number> => ({
  offset,
  get: (view, base) =>
    view.getUint32(base + offset, true) + view.getUint32(base + offset + 4, true) * 2 ** 32,
  set: (view, base, value) => {
    view.setUint32(base + offset, value % 2 ** 32, true);
    view.setUint32(base + offset + 4, Math.floor(value / 2 ** 32), true);
  },
});

/** 64 bits, signed. */
export const i64 = (offset: number): Field<bigint> => ({
  offset,
  get: (view, base) => view.getBigInt64(base + offset, true),
  set: (view, base, value) => view.setBigInt64(base + offset, value, true),
});
