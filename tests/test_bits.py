from maquina.bits import align_down, align_up, field, mask, sign_extend


def test_masks_and_fields_read_like_the_manuals() -> None:
    assert mask(12) == 0xFFF
    assert field(0xABCD, 11, 4) == 0xBC


def test_sign_extension_ignores_higher_bits() -> None:
    assert sign_extend(0xFFF, 12) == -1
    assert sign_extend(0x17FF, 12) == 0x7FF


def test_alignment_rounds_to_multiples() -> None:
    assert (align_down(4097, 4096), align_up(4097, 4096), align_up(4096, 4096)) == (
        4096,
        8192,
        4096,
    )
