"""Kernels of `scenes` in NVIDIA Warp, for the CPU: normals, light, and what is seen through.

One image and one thread a call. Screen positions, places and normals are [v] of vec3, colours and
pictures linear light, labels small integers. A shadow map holds the distance along the lamp's axis
of what the lamp sees first.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportOperatorIssue=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportUnknownParameterType=false, reportUntypedFunctionDecorator=false
# (Warp's kernel language looks like Python but has types of its own.)

import warp as wp

from focus_jax.rendering.rasterize_kernels import (
    corner_points,
    corrected,
    edge_areas,
    is_usable,
    pixel_box,
)

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

TAPS = wp.constant(4)  # a side, of the square over which a shadow is averaged


@wp.struct
class Surface:
    """The triangles of a scene and what they look like."""

    screen: wp.array(dtype=wp.vec3)
    places: wp.array(dtype=wp.vec3)  # in camera space
    normals: wp.array(dtype=wp.vec3)
    colours: wp.array(dtype=wp.vec4)  # linear, and opacity
    uv: wp.array(dtype=wp.vec2)
    shine: wp.array(dtype=wp.vec2)  # strength and exponent
    triangles: wp.array(dtype=wp.vec3i)
    labels: wp.array(dtype=wp.int32)  # of each triangle; negative: what the backdrop shows there
    textures: wp.array(dtype=wp.int32)  # of each triangle: row of `sheets`, or -1
    sheets: wp.array(dtype=wp.vec3i)  # first texel, height, width
    texels: wp.array(dtype=wp.vec4ub)  # sRGB, and opacity
    linear: wp.array(dtype=wp.float32)  # light of each value


@wp.struct
class Lights:
    """Ambient light as harmonics of order one, and lamps at infinity with their shadow maps."""

    ambient: wp.array(dtype=wp.vec3)  # [4]: constant, and factors of the normal's x, y, z
    towards: wp.array(dtype=wp.vec3)
    colours: wp.array(dtype=wp.vec3)
    across: wp.array(dtype=wp.vec3)  # two axes of each map, [2 l], in texels a millimetre
    softness: wp.array(dtype=wp.float32)  # texels
    maps: wp.array3d(dtype=wp.float32)
    centre: wp.vec3
    bias: wp.float32


@wp.kernel
def add_normals(
    places: wp.array(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    normals: wp.array(dtype=wp.vec3),
):
    for i in range(triangles.shape[0]):
        t = triangles[i]
        n = wp.cross(places[t[1]] - places[t[0]], places[t[2]] - places[t[0]])
        for k in range(3):
            normals[t[k]] = normals[t[k]] + n
    for v in range(normals.shape[0]):
        normals[v] = wp.normalize(normals[v])


@wp.func
def _texel(surface: Surface, sheet: wp.vec3i, x: wp.int32, y: wp.int32) -> wp.vec4:
    x = wp.clamp(x, 0, sheet[2] - 1)
    y = wp.clamp(y, 0, sheet[1] - 1)
    t = surface.texels[sheet[0] + y * sheet[2] + x]
    r = surface.linear[wp.int32(t[0])]
    g = surface.linear[wp.int32(t[1])]
    return wp.vec4(r, g, surface.linear[wp.int32(t[2])], wp.float32(t[3]) / 255.0)


@wp.func
def _look(surface: Surface, i: wp.int32, t: wp.vec3i, w: wp.vec3) -> wp.vec4:
    """Linear colour and opacity at a place of a triangle."""
    c = w[0] * surface.colours[t[0]] + w[1] * surface.colours[t[1]] + w[2] * surface.colours[t[2]]
    if surface.textures[i] >= 0:
        sheet = surface.sheets[surface.textures[i]]
        at = w[0] * surface.uv[t[0]] + w[1] * surface.uv[t[1]] + w[2] * surface.uv[t[2]]
        x = at[0] * wp.float32(sheet[2]) - 0.5
        y = at[1] * wp.float32(sheet[1]) - 0.5
        left = wp.int32(wp.floor(x))
        top = wp.int32(wp.floor(y))
        fx = x - wp.float32(left)
        fy = y - wp.float32(top)
        upper = _texel(surface, sheet, left, top) * (1.0 - fx)
        upper += _texel(surface, sheet, left + 1, top) * fx
        lower = _texel(surface, sheet, left, top + 1) * (1.0 - fx)
        lower += _texel(surface, sheet, left + 1, top + 1) * fx
        c = wp.cw_mul(c, upper * (1.0 - fy) + lower * fy)
    return c


@wp.func
def _blocked(lights: Lights, lamp: wp.int32, x: wp.float32, y: wp.float32, depth: wp.float32):
    """Whether something lies before a depth at a texel of the lamp's map; 0 to 1."""
    column = wp.int32(wp.floor(x))
    row = wp.int32(wp.floor(y))
    side = lights.maps.shape[1]
    blocked = wp.float32(0.0)
    if column >= 0 and row >= 0 and column < side and row < side:
        blocked = wp.clamp(depth - lights.maps[lamp, row, column], 0.0, 1.0)
    return blocked


@wp.func
def _reached(lights: Lights, lamp: wp.int32, place: wp.vec3, normal: wp.vec3) -> wp.float32:
    """How much of a lamp a place sees, 0 to 1: the mean over a square of its shadow map."""
    p = place + lights.bias * (normal + lights.towards[lamp]) - lights.centre
    side = lights.maps.shape[1]
    u = wp.dot(p, lights.across[2 * lamp]) + 0.5 * wp.float32(side)
    v = wp.dot(p, lights.across[2 * lamp + 1]) + 0.5 * wp.float32(side)
    depth = -wp.dot(p, lights.towards[lamp])
    far = lights.softness[lamp]
    total = _blocked(lights, lamp, u - far, v - far, depth)
    total += _blocked(lights, lamp, u + far, v - far, depth)
    total += _blocked(lights, lamp, u - far, v + far, depth)
    total += _blocked(lights, lamp, u + far, v + far, depth)
    total += _blocked(lights, lamp, u, v, depth)
    if total == 0.0 or total == 5.0:  # most places lie far from the edge of a shadow
        return 1.0 - total / 5.0
    total = wp.float32(0.0)
    step = far * 2.0 / wp.float32(TAPS - 1)
    for j in range(TAPS):
        for i in range(TAPS):
            x = u - far + step * wp.float32(i)
            total += _blocked(lights, lamp, x, v - far + step * wp.float32(j), depth)
    return 1.0 - total / wp.float32(TAPS * TAPS)


@wp.func
def _wrapped(facing: wp.float32) -> wp.vec3:
    """Lambert's cosine, which light that went through the skin carries on beyond the terminator,
    red farthest."""
    return wp.vec3(
        wp.max(facing + 0.18, 0.0) / 1.18,
        wp.max(facing + 0.10, 0.0) / 1.10,
        wp.max(facing + 0.07, 0.0) / 1.07,
    )


@wp.func
def _lit(
    lights: Lights,
    place: wp.vec3,
    normal: wp.vec3,
    albedo: wp.vec3,
    shine: wp.vec2,
    free: wp.float32,
    held: wp.bool,
) -> wp.vec3:
    """What a place sends to the camera; if `held`, that over what it would send without shadows.

    `free` is the part of the ambient light that reaches it.
    """
    view = -wp.normalize(place)
    ambient = lights.ambient[0] + normal[0] * lights.ambient[1]
    ambient = ambient + normal[1] * lights.ambient[2] + normal[2] * lights.ambient[3]
    diffuse = free * ambient
    whole = ambient
    mirrored = wp.vec3(0.0, 0.0, 0.0)
    for lamp in range(lights.towards.shape[0]):
        cosine = wp.dot(normal, lights.towards[lamp])
        if cosine > -0.2:
            part = wp.cw_mul(_wrapped(cosine), lights.colours[lamp])
            whole = whole + part
            reached = _reached(lights, lamp, place, normal)
            diffuse = diffuse + reached * part
            if shine[0] > 0.0 and cosine > 0.0:
                half = wp.normalize(lights.towards[lamp] + view)
                facing = wp.max(wp.dot(normal, half), 0.0)
                # Fresnel, after Schlick: surfaces that one sees from the side mirror more.
                grazing = 1.0 - wp.clamp(wp.dot(view, half), 0.0, 1.0)
                grazing = grazing * grazing * grazing * grazing * grazing
                if reached > 0.0:
                    lobe = wp.exp(shine[1] * wp.log(wp.max(facing, 1e-3)))
                    strength = shine[0] * (1.0 + 8.0 * grazing) * lobe
                    mirrored = mirrored + (reached * strength * cosine) * lights.colours[lamp]
    if shine[0] > 0.0:
        rim = 1.0 - wp.clamp(wp.dot(view, normal), 0.0, 1.0)
        mirrored = mirrored + (0.5 * shine[0] * rim * rim * rim * rim * free) * ambient
    out = wp.cw_mul(albedo, diffuse) + mirrored
    if held:
        out = wp.cw_div(diffuse, whole + wp.vec3(1e-4, 1e-4, 1e-4))
    return out


@wp.func
def _normal(surface: Surface, t: wp.vec3i, w: wp.vec3) -> wp.vec3:
    n = w[0] * surface.normals[t[0]] + w[1] * surface.normals[t[1]]
    return wp.normalize(n + w[2] * surface.normals[t[2]])


@wp.func
def _colour(
    surface: Surface,
    lights: Lights,
    i: wp.int32,
    t: wp.vec3i,
    w: wp.vec3,
    look: wp.vec4,
    free: wp.float32,
) -> wp.vec3:
    place = w[0] * surface.places[t[0]] + w[1] * surface.places[t[1]] + w[2] * surface.places[t[2]]
    normal = _normal(surface, t, w)
    # The inner side of a sheet is lit as what one sees of it.
    if wp.dot(normal, place) > 0.0:
        edge = wp.cross(
            surface.places[t[1]] - surface.places[t[0]], surface.places[t[2]] - surface.places[t[0]]
        )
        if wp.dot(edge, normal) < 0.0:
            normal = -normal
    shine = w[0] * surface.shine[t[0]] + w[1] * surface.shine[t[1]] + w[2] * surface.shine[t[2]]
    albedo = wp.vec3(look[0], look[1], look[2])
    return _lit(lights, place, normal, albedo, shine, free, surface.labels[i] < 0)


@wp.kernel
def shade(
    surface: Surface,
    lights: Lights,
    triangle_id: wp.array2d(dtype=wp.int32),
    free: wp.array2d(dtype=wp.float32),
    picture: wp.array2d(dtype=wp.vec3),
    shares: wp.array3d(dtype=wp.float32),
    normals: wp.array2d(dtype=wp.vec3),
):
    """Light what each pixel sees. `picture` holds the backdrop before; `shares` are of labels."""
    for y in range(triangle_id.shape[0]):
        for x in range(triangle_id.shape[1]):
            i = triangle_id[y, x]
            label = wp.int32(0)
            if i >= 0:
                t = surface.triangles[i]
                p = corner_points(surface.screen, t)
                w = edge_areas(p, wp.float32(x), wp.float32(y))
                w = corrected(w / ((w[0] + w[1]) + w[2]), p, 1)
                look = _look(surface, i, t, w)
                colour = _colour(surface, lights, i, t, w, look, free[y, x])
                normals[y, x] = _normal(surface, t, w)
                label = surface.labels[i]
                if label < 0:
                    label = -label
                    colour = wp.cw_mul(colour, picture[y, x])
                picture[y, x] = colour
            for k in range(shares.shape[2]):
                shares[y, x, k] = wp.where(k == label, 1.0, 0.0)


@wp.func
def _owned(p: wp.mat33, w: wp.vec3) -> wp.bool:
    """Whether a pixel inside or on an edge is the triangle's: on an edge it is one neighbour's."""
    own = w[0] >= 0.0 and w[1] >= 0.0 and w[2] >= 0.0
    for k in range(3):
        if w[k] == 0.0:
            i = (k + 1) % 3
            j = (k + 2) % 3
            down = p[j, 1] - p[i, 1]
            own = own and (down > 0.0 or (down == 0.0 and p[j, 0] > p[i, 0]))
    return own


@wp.kernel
def blend(
    surface: Surface,
    lights: Lights,
    order: wp.array(dtype=wp.int32),
    depth: wp.array2d(dtype=wp.float32),
    free: wp.array2d(dtype=wp.float32),
    picture: wp.array2d(dtype=wp.vec3),
    shares: wp.array3d(dtype=wp.float32),
):
    """Lay triangles that one sees through over the picture, in their order, the farthest first."""
    for n in range(order.shape[0]):
        i = order[n]
        t = surface.triangles[i]
        p = corner_points(surface.screen, t)
        box = pixel_box(p, depth.shape[1], depth.shape[0])
        if box[0] <= box[1] and box[2] <= box[3] and is_usable(p):
            for y in range(wp.int32(box[2]), wp.int32(box[3]) + 1):
                for x in range(wp.int32(box[0]), wp.int32(box[1]) + 1):
                    w = edge_areas(p, wp.float32(x), wp.float32(y))
                    total = (w[0] + w[1]) + w[2]
                    if total > 1e-12 and _owned(p, w):
                        w = corrected(w / total, p, 1)
                        z = w[0] * p[0, 2] + w[1] * p[1, 2] + w[2] * p[2, 2]
                        if z < depth[y, x]:
                            look = _look(surface, i, t, w)
                            if look[3] > 0.01:
                                alpha = wp.min(look[3], 1.0)
                                colour = _colour(surface, lights, i, t, w, look, free[y, x])
                                picture[y, x] = picture[y, x] * (1.0 - alpha) + alpha * colour
                                for k in range(shares.shape[2]):
                                    own = wp.where(k == surface.labels[i], alpha, 0.0)
                                    shares[y, x, k] = shares[y, x, k] * (1.0 - alpha) + own
