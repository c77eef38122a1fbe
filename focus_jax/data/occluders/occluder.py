"""stand-in, to be replaced."""

import numpy as np

from focus_jax.data.occluders.head import Head
from focus_jax.data.occluders.part import FACE, OCCLUDER, Part

OCCLUDERS = (
    "none",
    "glasses",
    "sunglasses",
    "mask",
    "scarf",
    "hand",
    "fringe",
    "microphone",
    "patch",
    "hat",
)


def plate(c,w,h,z,colour,label=OCCLUDER,alpha=1.):
    x,y=np.meshgrid(np.linspace(-w,w,12),np.linspace(-h,h,12)); 
    v=np.stack([c[0]+x.ravel(),c[1]+y.ravel(),c[2]+z+0*x.ravel()-.01*x.ravel()**2],1).astype(np.float32)
    n=np.arange(144).reshape(12,12); a,b,cc,d=n[:-1,:-1].ravel(),n[:-1,1:].ravel(),n[1:,:-1].ravel(),n[1:,1:].ravel()
    t=np.concatenate([np.stack([a,b,d],1),np.stack([a,d,cc],1)]).astype(np.int32)
    col=np.tile(np.float32([*colour,alpha]),(144,1))
    return Part(v,t,col,None,None,label,(.1,20.),True)
def draw_occluder(kind, vertices, face, skin, rng):
    lm=np.einsum("lkc,lk->lc",vertices[face.landmark_vertices],face.landmark_weights)
    if kind=="hand":
        from focus_jax.data.occluders.hands import hand
        return hand(Head(vertices,lm,skin),rng)
    if kind=="glasses":
        return [plate(lm[36:42].mean(0),20,14,14,(.1,.1,.1),FACE,.15),plate(lm[42:48].mean(0),20,14,14,(.1,.1,.1),FACE,.15),plate(lm[27],46,2,16,(.05,.05,.05))]
    if kind=="sunglasses":
        return [plate(lm[36:42].mean(0),22,16,14,(.02,.02,.03)),plate(lm[42:48].mean(0),22,16,14,(.02,.02,.03))]
    return [plate(lm[62],rng.uniform(20,40),25,25,rng.uniform(0.05,.95,3))]
